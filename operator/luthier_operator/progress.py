"""The report receiver: POST /v1/progress, authenticated by the pod's own token."""

import asyncio
import base64
import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import web
from pydantic import ValidationError

from luthier_api.meta import first_error
from luthier_api.progress import MAX_REPORT_BYTES, PROGRESS_ROUTE, ProgressReport
from luthier_api.revision import revision_number
from luthier_api.runspec import PROGRESS_AUDIENCE, RunIdentity
from luthier_api.runstatus import RunStatus
from luthier_operator import metrics
from luthier_operator.conditions import is_true
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.reports import Reports, resource_of
from luthier_operator.resources import (
    ATTEMPT_LABEL,
    JOBS,
    PODS,
    REVISION_LABEL,
    Key,
    Obj,
    Resource,
    controller_uid,
)
from luthier_operator.run.observe import parse_any_status, parse_job
from luthier_operator.store import Store

log = logging.getLogger(__name__)

CACHE_SECONDS = 60.0
CACHE_ENTRIES = 20_000
CONCURRENT_REVIEWS = 16


class Api(Protocol):
    """What the receiver asks of the API server."""

    async def review_token(self, token: str, audience: str) -> Obj:
        """The status of a TokenReview."""

    async def list_all(
        self, resource: Resource, namespace: str | None, *, fields: str
    ) -> tuple[list[Obj], int]:
        """Objects as they are now, and the list's version."""


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
    """TokenReview, cached by the token's hash until it expires, at most for a minute."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        # Strangers with made-up tokens must not become a flood of TokenReviews.
        self._reviews = asyncio.Semaphore(CONCURRENT_REVIEWS)
        self._cache: dict[bytes, tuple[float, Caller | None]] = {}

    async def caller(self, header: str) -> Caller:
        """The pod behind an Authorization header. Raises Refused 401."""
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Refused(401, "a bearer token is needed")
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        until, known = self._cache.get(digest, (0.0, None))
        if until <= now:
            async with self._reviews:
                known = _caller(await self._api.review_token(token, PROGRESS_AUDIENCE))
            until = min(now + CACHE_SECONDS, _expiry(token) or now + CACHE_SECONDS)
            if len(self._cache) >= CACHE_ENTRIES:
                self._cache = {key: it for key, it in self._cache.items() if it[0] > now}
            if len(self._cache) < CACHE_ENTRIES:
                self._cache[digest] = (until, known)
        if known is None:
            raise Refused(
                401, f"the token isn't valid for audience {PROGRESS_AUDIENCE}, or bound to no pod"
            )
        return known


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


def _expiry(token: str) -> float | None:
    """The `exp` of a JWT; the API server has verified the token, this only shortens a cache."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


class Receiver:
    """Takes reports, and lets a pod speak only for its own run."""

    def __init__(
        self,
        api: Api,
        store: Store,
        reports: Reports,
        *,
        ready: Callable[[], bool],
        changed: Callable[[Resource, Key], None],
    ) -> None:
        self._api = api
        self._store = store
        self._reports = reports
        self._ready = ready
        self._changed = changed
        self._tokens = Authenticator(api)

    def routes(self, app: web.Application) -> None:
        """Serve the route."""
        app.router.add_post(PROGRESS_ROUTE, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one report."""
        try:
            await self._take(request)
        except Refused as refused:
            metrics.REPORTS.labels(code=str(refused.code)).inc()
            return web.json_response({"message": refused.message}, status=refused.code)
        metrics.REPORTS.labels(code="204").inc()
        return web.Response(status=204)

    async def _take(self, request: web.Request) -> None:
        if not self._ready():
            raise Refused(503, "not ready: try again")
        if (request.content_length or 0) > MAX_REPORT_BYTES:
            raise Refused(413, f"a report has at most {MAX_REPORT_BYTES} bytes")
        try:
            caller = await self._tokens.caller(request.headers.get("Authorization", ""))
            text = await _read(request)
            report = ProgressReport.model_validate_json(text)
            await self._authorise(caller, report)
        except ValidationError as error:
            raise Refused(400, ": ".join(first_error(error))) from error
        except (ApiError, ApiUnreachableError) as error:
            log.warning("can't check a progress report: %s", error)
            raise Refused(503, "the API server doesn't answer: try again") from error
        key = (report.run.namespace, report.run.name)
        if self._reports.put(report, datetime.now(UTC)):
            self._changed(resource_of(report), key)

    async def _authorise(self, caller: Caller, report: ProgressReport) -> None:
        """Pod → Job → resource, by controlling owners. Raises Refused."""
        run = report.run
        denied = Refused(403, f"pod {caller.pod} doesn't belong to that run")
        if report.pod != caller.pod or run.namespace != caller.namespace:
            raise denied
        pod = await self._find(PODS, (caller.namespace, caller.pod), caller.uid)
        job = self._owner(pod)
        if pod is None or job is None or controller_uid(job) != run.uid:
            raise denied
        labels = job["metadata"].get("labels") or {}
        if (labels.get(REVISION_LABEL), labels.get(ATTEMPT_LABEL)) != (
            run.revision,
            str(run.attempt),
        ):
            raise denied
        resource = resource_of(report)
        owner = self._store.get(resource, (run.namespace, run.name))
        if owner is None or owner["metadata"]["uid"] != run.uid:
            raise denied
        if is_over(parse_any_status(resource, owner), job, run):
            raise Refused(409, f"{run.revision}, attempt {run.attempt} is over")

    def _owner(self, pod: Obj | None) -> Obj | None:
        uid = controller_uid(pod) if pod else None
        found = self._store.find(uid) if uid else None
        return found[1] if found and found[0] == JOBS else None

    async def _find(self, resource: Resource, key: Key, uid: str) -> Obj | None:
        known = self._store.get(resource, key)
        if known is None or known["metadata"]["uid"] != uid:
            # The watch may be a moment behind a pod that has just started.
            namespace, name = key
            found, _ = await self._api.list_all(resource, namespace, fields=f"metadata.name={name}")
            known = found[0] if found else None
        return known if known and known["metadata"]["uid"] == uid else None


def is_over(status: RunStatus, job: Obj, run: RunIdentity) -> bool:
    """Whether a newer revision or attempt has taken over, or this one's end is on record."""
    parsed = parse_job(job)
    if parsed.end is not None:
        return True
    if status.revision is None:
        return False
    if status.revision != run.revision:
        # A Job may be a moment ahead of the status that names its revision.
        return revision_number(run.revision) <= revision_number(status.revision)
    attempt = status.attempt or 1
    ended = is_true(status.conditions, "Complete") or is_true(status.conditions, "Failed")
    return run.attempt < attempt or (run.attempt == attempt and ended)


async def _read(request: web.Request) -> bytes:
    text = await request.content.read(MAX_REPORT_BYTES + 1)
    while len(text) <= MAX_REPORT_BYTES and (more := await request.content.readany()):
        text += more
    if len(text) > MAX_REPORT_BYTES:
        raise Refused(413, f"a report has at most {MAX_REPORT_BYTES} bytes")
    return text
