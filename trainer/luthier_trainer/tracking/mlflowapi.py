"""MLflow's REST API, by the standard library: MLflow's own client is 23 packages, and seconds of
import."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from luthier_trainer.storage.causes import cause
from luthier_trainer.storage.connection import (
    ForbiddenAddressError,
    HttpHandler,
    HttpsHandler,
    Watch,
)
from luthier_trainer.tracking.tracker import TrackerError

_TIMEOUT = 10.0
_MOST_BYTES = 8 * 10**6
# What a server says when it is only busy, or a proxy before it.
_HEALING = (408, 425, 429, 500, 502, 503, 504)


class ApiError(TrackerError):
    """The server answers with an error. `code`: MLflow's, where it has one."""

    def __init__(self, told: str, status: int, code: str) -> None:
        super().__init__(told, refused=status not in _HEALING)
        self.status = status
        self.code = code


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: credentials are for the named server alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


class MlflowApi:
    """Calls of one server."""

    def __init__(self, uri: str, authorization: str | None) -> None:
        self.uri = uri.rstrip("/")
        self._authorization = authorization
        self._opener = urllib.request.build_opener(_NoRedirects, HttpHandler, HttpsHandler)

    def get(self, call: str, **query: str) -> dict[str, Any]:
        """Raises TrackerError."""
        return self._ask(f"{call}?{urlencode(query)}", None)

    def post(self, call: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Raises TrackerError."""
        return self._ask(call, json.dumps(document).encode())

    def _ask(self, call: str, body: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the spec's schema allows http(s) alone
            f"{self.uri}/api/2.0/mlflow/{call}", data=body, method="POST" if body else "GET"
        )
        request.add_header("User-Agent", "luthier")
        request.add_header("Content-Type", "application/json")
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return _document(_read(answer))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except ForbiddenAddressError as error:
            raise TrackerError(f"{self.uri}: {error}", refused=True) from None
        except TrackerError:
            raise
        except Exception as error:  # without its words, which may quote a header
            raise TrackerError(f"{self.uri}: {cause(error)}") from None

    def _refusal(self, error: urllib.error.HTTPError) -> ApiError:
        try:
            code = str(_document(_read(error)).get("error_code", ""))[:64]
        except Exception:
            code = ""
        status = error.code
        if status in (401, 403):
            told = (
                f"{self.uri} refuses the login (HTTP {status}): give tracking.mlflow a Secret with "
                "a token or password that may write to the experiment"
            )
        elif 300 <= status < 400:
            told = f"{self.uri} leads elsewhere (HTTP {status}): name the address that it leads to"
        else:
            words = " ".join(filter(None, (f"HTTP {status}", code or _phrase(status))))
            told = f"{self.uri} answers {words}"
        return ApiError(told, status, code)


def bearer(token: str) -> str:
    """A header's value."""
    return f"Bearer {token}"


def basic(username: str, password: str) -> str:
    """A header's value."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _read(answer: Any) -> bytes:
    """Raises TrackerError, and TimeoutError where it drips."""
    found = b""
    hang_up = getattr(answer, "hang_up", None) or getattr(answer.fp, "hang_up", None)
    answer.hang_up = hang_up or answer.close
    with Watch(answer, _TIMEOUT) as watch:
        while chunk := watch.read(lambda: answer.read1(1 << 16)):
            found += chunk
            if len(found) > _MOST_BYTES:
                raise TrackerError(f"its answer has more than {_MOST_BYTES:,} bytes")
    return found


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise TrackerError("its answers aren't MLflow's")
    return document


def _phrase(status: int) -> str:
    """Of the standard: a server may write what it likes there."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
