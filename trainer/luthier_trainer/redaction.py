"""What this process knows and nobody may read in a log, a report or a result.

Other people's code puts what it was given into its exceptions: a header with a token, a URL with
a password. So every text that leaves the process goes through `redacted`.
"""

import base64
import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from pydantic import BaseModel

HIDDEN = "[hidden]"
# A piece of a secret of so many characters is hidden wherever it stands: libraries cut, wrap and
# escape what they quote.
_PIECE = 12
# Shorter than this a secret would hide parts of ordinary words.
_SHORTEST = 8
_LONGEST = 16 * 1024

_SECRET_NAME = re.compile(
    r"(^|_)(TOKENS?|SECRETS?|[A-Z]*(PASSWORD|PASSWD|PASSPHRASE)|API_?KEY|ACCESS_KEY|PRIVATE_KEY|"
    r"CREDENTIALS?|AUTHORIZATION|CONNECTION_STRING)(_|$)"
    # At their end alone, and never all of it: PWD is the folder.
    r"|[A-Z0-9]_(PASS|PWD|PAT|KEY|AUTH|JWT)$|^SSHPASS$"
)
# What only tells where a secret is, or of it.
_ABOUT_NAME = re.compile(r"_(FILE|PATH|DIR|URI|URL|ARN|NAME|DISABLED|EXPIRATION)$")
_USER_INFO = re.compile(r"://([^/@\s\"']+)@")
# Shapes of secrets that nobody told us.
_SHAPES = (
    (re.compile(r"://[^/@\s\"']+@"), f"://{HIDDEN}@"),
    (re.compile(r"AWS4-HMAC-SHA256[^\n]*"), f"AWS4-HMAC-SHA256 {HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"([?&](?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|sig|"
            r"access_token|token)=)[^&\s\"']+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
)
_remembered: set[str] = set()


def is_secret(name: str) -> bool:
    """Whether an environment variable of that name holds a secret."""
    name = name.upper()
    return bool(_SECRET_NAME.search(name)) and not _ABOUT_NAME.search(name)


def remember(*values: str) -> None:
    """Hide these too: secrets that are not, or no longer, in the environment."""
    _remembered.update(value for value in values if len(value) >= _SHORTEST)


def redacted(text: str) -> str:
    """The text with every secret that this process knows, and every piece of one, hidden."""
    if len(text) < _SHORTEST:
        return text
    pieces, words = _sought(frozenset(_known()))
    if pieces:
        text = _without_pieces(text, pieces)
    for word in words:
        text = text.replace(word, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def redacted_values(document: Any) -> Any:
    """A document, as JSON or as models, with all its strings redacted."""
    match document:
        case str():
            return redacted(document)
        case dict():
            return {key: redacted_values(value) for key, value in document.items()}
        case list() | tuple():
            return type(document)(redacted_values(each) for each in document)
        case BaseModel():
            fields = type(document).model_fields
            return document.model_copy(
                update={name: redacted_values(getattr(document, name)) for name in fields}
            )
    return document


def _known() -> Iterable[str]:
    # Whatever another thread remembers or sets meanwhile.
    yield from tuple(_remembered)
    for name in os.environ:
        value = os.environ.get(name, "")
        if is_secret(name):
            yield value[:_LONGEST].strip()
        for found in _USER_INFO.finditer(value[:_LONGEST]):
            yield found.group(1).partition(":")[2] or found.group(1)


@lru_cache(maxsize=8)
def _sought(secrets: frozenset[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Pieces of long secrets, and short ones as they are, longest first."""
    pieces: set[str] = set()
    words: set[str] = set()
    for secret in secrets:
        for form in _forms(secret):
            if len(form) >= _PIECE:
                pieces.update(form[i : i + _PIECE] for i in range(len(form) - _PIECE + 1))
            elif len(form) >= _SHORTEST:
                words.add(form)
    return frozenset(pieces), tuple(sorted(words, key=len, reverse=True))


def _forms(secret: str) -> set[str]:
    """As it is, and as it looks quoted, escaped and encoded."""
    raw = secret.encode(errors="surrogateescape")
    percent = quote(secret, safe="", errors="surrogateescape")
    forms = {
        secret,
        unquote(secret, errors="replace"),
        percent,
        percent.lower(),
        quote_plus(secret, errors="surrogateescape"),
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        json.dumps(secret)[1:-1],
        raw.hex(),
    }
    # In base64 the same bytes look different by what stands before them.
    for before, lost in ((0, 0), (1, 2), (2, 3)):
        whole = len(raw) + before - (len(raw) + before) % 3
        encoded = base64.b64encode((b"\0" * before + raw)[:whole]).decode()[lost:]
        forms |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= _SHORTEST}


def _without_pieces(text: str, pieces: frozenset[str]) -> str:
    kept, start, at = [], 0, 0
    while at <= len(text) - _PIECE:
        if text[at : at + _PIECE] not in pieces:
            at += 1
            continue
        end = at + 1
        while text[end : end + _PIECE] in pieces:
            end += 1
        kept += [text[start:at], HIDDEN]
        start = at = end - 1 + _PIECE
    return "".join([*kept, text[start:]])
