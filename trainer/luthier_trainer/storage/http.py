"""Files over HTTP, with the standard library: proxies and CA files by the environment
(HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE).

No message holds a query or a token: a redirect's address can carry a signature.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from luthier_trainer.errors import is_disk_full
from luthier_trainer.storage.retry import brief, retry

MAX_BYTES = 200 * 10**9
_TIMEOUT = 30
_CHUNK = 1 << 20
_HEALING = (408, 425, 429, 500, 502, 503, 504)


class HttpError(Exception):
    """The server's answer was not the file. `code` is what a hub adds in X-Error-Code."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"HTTP {status} {text}".strip())
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
        """Raises HttpError, UntrustedServerError, UnreachableError."""

        def get() -> Any:
            with self._open(url) as answer:
                return json.load(answer)

        return self._try(url, get)

    def download(self, url: str, path: Path, limit: int = MAX_BYTES) -> None:
        """Write the file to `path`; a broken transfer goes on where it broke, when the server
        can. Raises as `json`, TooLargeError, and OSError where the disk is full."""
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
                etag = strong if strong.startswith('"') else None
                expected = answer.headers.get("Content-Length")
                if expected is not None and file.tell() + int(expected) > limit:
                    raise TooLargeError(f"more than {limit:,} bytes")
                received = _copy(answer, file, limit)
                if expected is not None and received != int(expected):
                    raise http.client.IncompleteRead(b"", int(expected) - received)

        self._try(url, get)

    def _try(self, url: str, call: Any) -> Any:
        place = shown(url)
        try:
            return retry(f"GET {place}", call, self._retry_seconds, _heals)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise UntrustedServerError(brief(error.reason)) from error
            raise UnreachableError(brief(error)) from error
        except (HttpError, TooLargeError):
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if is_disk_full(error):
                raise
            raise UnreachableError(brief(error)) from error

    def _open(self, url: str, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(url, headers=headers or {})  # noqa: S310
        request.add_header("User-Agent", "luthier")
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        opener = urllib.request.build_opener(_Redirects)
        try:
            return opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                code = error.headers.get("X-Error-Code", "")
                raise HttpError(error.code, code, str(error.reason)) from None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps the token on the same host, drops it elsewhere, and never leaves TLS."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, url: str
    ) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(url)
        if old.scheme == "https" and new.scheme != "https":
            fp.close()
            raise HttpError(code, "", f"the server leads from https:// to {new.scheme}://")
        request = super().redirect_request(req, fp, code, msg, headers, url)
        token = req.unredirected_hdrs.get("Authorization")
        if request and token and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", token)
        return request


def shown(url: str) -> str:
    """A URL without its query."""
    return url.partition("?")[0]


def _copy(source: Any, target: IO[bytes], limit: int) -> int:
    received = 0
    while chunk := source.read(_CHUNK):
        received += len(chunk)
        if target.tell() + len(chunk) > limit:
            raise TooLargeError(f"more than {limit:,} bytes")
        target.write(chunk)
    return received


def _heals(error: Exception) -> bool:
    if isinstance(error, HttpError):
        return error.status in _HEALING
    if isinstance(error, urllib.error.URLError):
        return not isinstance(error.reason, ssl.SSLCertVerificationError)
    return isinstance(error, OSError | http.client.HTTPException) and not is_disk_full(error)
