"""Whose token a report shows: TokenReview, asked for as seldom as strangers allow."""

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from luthier_api.runspec import PROGRESS_AUDIENCE
from luthier_operator.buckets import Buckets
from luthier_operator.resources import Obj

CACHE_SECONDS = 60.0
CACHE_ENTRIES = 20_000
CONCURRENT_REVIEWS = 16
# An address may be wrong so often at once, and then so often a second; until its review, a token
# counts as wrong. Pods behind one address share it, so one that was found good is never held back.
WRONG_BURST = 20
WRONG_PER_SECOND = 0.5
# A service account's token has about a thousand characters.
TOKEN_LENGTH = 8192
_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")


class Reviewer(Protocol):
    """What is asked of the API server."""

    async def review_token(self, token: str, audience: str) -> Obj:
        """The status of a TokenReview."""


@dataclass(frozen=True)
class Caller:
    """The pod that a token is bound to."""

    namespace: str
    pod: str
    uid: str


class Refused(Exception):  # noqa: N818 - the answer, not a fault
    """The answer to a report that isn't taken."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Authenticator:
    """TokenReview, cached by the token's hash until it expires, at most for a minute.

    What can't be a token of ours is refused unasked, and who is often wrong isn't heard for a
    while: strangers with made-up tokens must not become a flood of TokenReviews.
    """

    def __init__(self, api: Reviewer, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._reviews = asyncio.Semaphore(CONCURRENT_REVIEWS)
        self._known: dict[bytes, tuple[float, Caller]] = {}  # until when, and who
        self._wrong: Buckets[str] = Buckets(WRONG_BURST, WRONG_PER_SECOND, clock=clock)

    async def caller(self, header: str, address: str) -> Caller:
        """The pod behind an Authorization header. Raises Refused 401 and 429."""
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Refused(401, "a bearer token is needed")
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        until, known = self._known.get(digest, (0.0, None))
        if known is not None and until > self._clock():
            return known
        # Taken at once: those that come while a review is under way count as well.
        if not self._wrong.take(address):
            raise Refused(429, "too many wrong tokens came from this address: wait a minute")
        claims = _claims(token)
        if not _is_for_us(claims):
            raise Refused(401, f"no token of a service account for audience {PROGRESS_AUDIENCE}")
        async with self._reviews:
            found = _caller(await self._api.review_token(token, PROGRESS_AUDIENCE))
        if found is None:
            raise Refused(
                401, f"the token isn't valid for audience {PROGRESS_AUDIENCE}, or bound to no pod"
            )
        self._wrong.give_back(address)
        self._remember(digest, found, claims)
        return found

    def _remember(self, digest: bytes, found: Caller, claims: Obj) -> None:
        now = self._clock()
        # The API server has verified the token: its end only shortens the cache.
        end = claims.get("exp")
        expires = float(end) if isinstance(end, int | float) and abs(end) < 2**53 else now
        if len(self._known) >= CACHE_ENTRIES:
            self._known = {key: it for key, it in self._known.items() if it[0] > now}
        if len(self._known) < CACHE_ENTRIES:
            self._known[digest] = (min(now + CACHE_SECONDS, expires), found)


def _caller(review: Obj) -> Caller | None:
    if not review.get("authenticated") or PROGRESS_AUDIENCE not in (review.get("audiences") or []):
        return None
    user = review.get("user") or {}
    extra = user.get("extra") or {}
    names = extra.get("authentication.kubernetes.io/pod-name") or []
    uids = extra.get("authentication.kubernetes.io/pod-uid") or []
    account = str(user.get("username", "")).split(":")
    if len(account) != 4 or account[:2] != ["system", "serviceaccount"] or not names or not uids:
        return None
    return Caller(namespace=account[2], pod=names[0], uid=uids[0])


def _claims(token: str) -> Obj:
    """What a JWT says of itself, unverified; nothing for what isn't one."""
    shape = _JWT.fullmatch(token) if len(token) <= TOKEN_LENGTH else None
    if shape is None:
        return {}
    payload = shape[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _is_for_us(claims: Obj) -> bool:
    audience = claims.get("aud")
    return PROGRESS_AUDIENCE in (audience if isinstance(audience, list) else [audience])
