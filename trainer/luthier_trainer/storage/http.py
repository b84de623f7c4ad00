"""Files over HTTP, with the standard library: proxies and CA files by the environment
(HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE).

No message holds a query, a token, or what a library says of either.
"""

import http.client
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from luthier_trainer.errors import is_disk_full
from luthier_trainer.storage.causes import cause, certificate_refused
from luthier_trainer.storage.connection import (
    ForbiddenAddressError,
    HttpHandler,
    HttpsHandler,
    Watch,
)
from luthier_trainer.storage.retry import retry
from luthier_trainer.storage.uri import shown, url_encoded

MAX_BYTES = 200 * 10**9
_MAX_JSON_BYTES = 64 * 10**6
_TIMEOUT = 30
_CHUNK = 1 << 20
_HEALING = (408, 425, 429, 500, 502, 503, 504)
# A transfer that is slower than this over so long won't end: others wait for its GPU.
_SLOWEST_BYTES = 1000  # a second
_SLOW_SECONDS = 60.0


class HttpError(Exception):
    """The server's answer was not the file. `code` is what a hub adds in X-Error-Code."""

    def __init__(self, status: int, code: str, text: str = "") -> None:
        super().__init__(f"HTTP {status} {text or _phrase(status)}".strip())
        self.status = status
        self.code = code


class UntrustedServerError(Exception):
    """The server's certificate isn't trusted: trying again can't heal it."""


class TooLargeError(Exception):
    """More bytes than allowed."""


class UnreachableError(Exception):
    """No whole answer for as long as was allowed."""


class Http:
    """GET with retries. `token` is shown to the first host only, never after a redirect to
    another one."""

    def __init__(self, retry_seconds: float, token: str | None = None) -> None:
        self._retry_seconds = retry_seconds
        self._token = token

    def json(self, url: str) -> Any:
        """Raises HttpError, UntrustedServerError, UnreachableError, TooLargeError."""

        def get() -> Any:
            body = io.BytesIO()
            with self._open(url) as answer:
                _copy(answer, body, _MAX_JSON_BYTES)
            try:
                return json.loads(body.getvalue())
            except (ValueError, RecursionError):
                raise UnreachableError("the answer isn't JSON") from None

        return self._try(url, get)

    def head(self, url: str) -> tuple[int, str]:
        """Size (0: not told) and validator of a file: its ETag, else when it was changed, else
        nothing. Raises as `json`."""

        def look() -> tuple[int, str]:
            with self._open(url, method="HEAD") as answer:
                headers = answer.headers
                validator = headers.get("ETag") or headers.get("Last-Modified") or ""
                return _length(answer) or 0, validator

        found: tuple[int, str] = self._try(url, look)
        return found

    def download(self, url: str, path: Path, limit: int = MAX_BYTES) -> None:
        """Write the file to `path`; a broken transfer goes on where it broke, when the server
        can. Raises as `json`, and OSError where the disk is full."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        etag: str | None = None

        def get() -> None:
            nonlocal etag
            done = path.stat().st_size if etag else 0
            headers = {"Range": f"bytes={done}-", "If-Range": etag} if etag and done else {}
            with self._open(url, headers) as answer, path.open("r+b") as file:
                file.truncate(done if answer.status == 206 else 0)
                file.seek(0, 2)
                strong = answer.headers.get("ETag", "")
                etag = strong if strong.startswith('"') and strong.isprintable() else None
                expected = _length(answer)
                if expected is not None and file.tell() + expected > limit:
                    raise TooLargeError(f"more than {limit:,} bytes")
                received = _copy(answer, file, limit)
                if expected is not None and received != expected:
                    raise http.client.IncompleteRead(b"", expected - received)

        self._try(url, get)

    def _try(self, url: str, call: Callable[[], Any]) -> Any:
        try:
            return retry(f"GET {shown(url)}", call, self._retry_seconds, _heals)
        except (HttpError, TooLargeError, UnreachableError):
            raise
        except ForbiddenAddressError as error:
            raise UnreachableError(str(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if is_disk_full(error):
                raise
            # Without the error itself: a traceback shows the text of what it was raised from.
            refused = certificate_refused(error)
            if refused:
                raise UntrustedServerError(cause(refused)) from None
            raise UnreachableError(cause(error)) from None

    def _open(self, url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
        request = urllib.request.Request(  # noqa: S310
            url_encoded(url), headers=headers or {}, method=method
        )
        request.add_header("User-Agent", "luthier")
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        opener = urllib.request.build_opener(_Redirects, HttpHandler, HttpsHandler)
        try:
            return opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                raise HttpError(error.code, error.headers.get("X-Error-Code", "")) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the token on the same host, drops it elsewhere, and leads to another host by TLS
    alone: who can change an answer on its way could else lead into the cluster."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, url: str
    ) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(url)
        same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
        if not same and new.scheme != "https":
            fp.close()
            raise HttpError(
                code,
                "",
                f"the server leads from {old.scheme}:// to another host by http://"
                if old.scheme == new.scheme
                else f"the server leads from {old.scheme}:// to {new.scheme}://",
            )
        request = super().redirect_request(req, fp, code, msg, headers, url)
        token = req.unredirected_hdrs.get("Authorization")
        if request and token and same:
            request.add_unredirected_header("Authorization", token)
        return request


def _phrase(status: int) -> str:
    """Of the standard: a server may write what it likes there."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _length(answer: Any) -> int | None:
    length = answer.headers.get("Content-Length")
    return int(length) if length is not None and length.isascii() and length.isdigit() else None


def _copy(source: Any, target: IO[bytes], limit: int) -> int:
    """Raises TooLargeError, and TimeoutError where it drips."""
    received, before, since = 0, 0, time.monotonic()
    with Watch(source, _SLOW_SECONDS) as watch:
        while chunk := watch.read(lambda: source.read1(_CHUNK)):
            received += len(chunk)
            if target.tell() + len(chunk) > limit:
                raise TooLargeError(f"more than {limit:,} bytes")
            target.write(chunk)
            now = time.monotonic()
            if now - since >= _SLOW_SECONDS:
                if received - before < _SLOWEST_BYTES * (now - since):
                    raise TimeoutError(f"less than {_SLOWEST_BYTES:,} bytes a second")
                before, since = received, now
    return received


def _heals(error: Exception) -> bool:
    if isinstance(error, HttpError):
        return error.status in _HEALING
    if isinstance(error, UntrustedServerError | ForbiddenAddressError | TooLargeError):
        return False
    if isinstance(error, http.client.InvalidURL) or certificate_refused(error):
        return False
    return isinstance(error, OSError | http.client.HTTPException) and not is_disk_full(error)
