"""Where models and data are read from, by the scheme of the URI."""

from pathlib import Path
from typing import Literal
from urllib.parse import quote

from luthier_api.result import ExitCode
from luthier_api.runspec import RunOrder
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.confined import confined
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.http import (
    Http,
    HttpError,
    TooLargeError,
    UnreachableError,
    UntrustedServerError,
)
from luthier_trainer.storage.hub import HubStore
from luthier_trainer.storage.keys import problem
from luthier_trainer.storage.objectstore import Entry, ReadableStore
from luthier_trainer.storage.open import open_store
from luthier_trainer.storage.uri import split


def open_source(
    uri: str,
    kind: Literal["models", "datasets"],
    order: RunOrder,
    param: str,
    revision: str | None = None,
) -> ReadableStore:
    """The folder that `uri` names; for https:// that of its one file. Raises TrainerError."""
    match split(uri)[0]:
        case "hf":
            seconds = order.storage.retry_seconds
            return HubStore(uri, kind, revision, order.hub_endpoint, seconds, param)
        case "https":
            return HttpsFolder(uri, order.storage.retry_seconds, param)
        case "pvc":
            return _mounted(uri, Path(order.claims_dir), "claim", "ClaimNotMounted", param)
        case "configmap":
            folder = Path(order.config_maps_dir)
            return _mounted(uri, folder, "ConfigMap", "ConfigMapNotMounted", param)
        case _:
            return open_store(uri, order.storage, param, order.file_roots)


def _mounted(uri: str, base: Path, what: str, code: str, param: str) -> FileStore:
    _, name, path = split(uri)
    mounts = Path(base).resolve()
    mount = mounts / name
    if problem(name) or "/" in name or not mount.is_dir():
        raise TrainerError(
            ExitCode.NOT_FOUND,
            code,
            f"{uri}: the {what} {name!r} isn't mounted here: outside a cluster there are "
            "none; for `luthier run` copy the files to a folder and write file:///FOLDER",
            param,
        )
    # Of the mount itself: the kubelet may have made it a link.
    within = (confined(mount, [mounts], param),)
    inner = path.strip("/")
    if inner and problem(inner):
        raise _escapes(uri, what, param)
    try:
        folder = confined(within[0] / inner, within, param)
    except TrainerError as error:
        raise _escapes(uri, what, param) from error
    return FileStore(folder, within, param)


def _escapes(uri: str, what: str, param: str) -> TrainerError:
    return TrainerError(
        ExitCode.DENIED,
        "PathEscapes",
        f"{uri}: the path leads out of the {what}; name one inside it",
        param,
    )


# All that a name in a URL may hold as it is, by RFC 3986.
_IN_NAME = "!$&'()*+,;=:@~-._"


class HttpsFolder:
    """The folder of a URL, of which only the files that are asked for are known."""

    def __init__(self, uri: str, retry_seconds: float, param: str) -> None:
        self.uri = uri.rstrip("/")
        self._param = param
        self._seconds = retry_seconds

    def entries(self, prefix: str = "") -> list[Entry]:
        """Nothing: HTTP lists no folder."""
        del prefix
        return []

    def entry(self, key: str) -> Entry | None:
        """By the server's validators, if it sends any: HEAD is no more than an offer."""
        try:
            size, validator = Http(0).head(self._place(key))
        except (HttpError, UntrustedServerError, UnreachableError):
            return None
        return Entry(key, size, validator) if validator else None

    def _place(self, key: str) -> str:
        return f"{self.uri}/{quote(key, safe=_IN_NAME)}"

    def download(self, key: str, path: Path) -> None:
        """Raises FileNotFoundError, TrainerError."""
        place = self._place(key)
        try:
            Http(self._seconds).download(place, path)
        except HttpError as error:
            if error.status in (404, 410):
                raise FileNotFoundError(place) from error
            denied = error.status in (401, 403)
            raise TrainerError(
                ExitCode.DENIED if denied else ExitCode.STORAGE_UNAVAILABLE,
                "SourceDenied" if denied else "SourceUnavailable",
                f"{place}: {error}; "
                + (
                    "https:// sends no credentials: make the file public, or copy it to S3"
                    if denied
                    else "check the URL in a browser, then retry"
                ),
                self._param,
            ) from error
        except UntrustedServerError as error:
            raise TrainerError(
                ExitCode.DENIED,
                "UntrustedServer",
                f"{place}: {error}; give the pod the server's CA (SSL_CERT_FILE), or copy the "
                "file to S3",
                self._param,
            ) from error
        except TooLargeError as error:
            raise TrainerError(
                ExitCode.DATA,
                "TooLarge",
                f"{place}: {error}; split the file, or copy it to S3",
                self._param,
            ) from error
        except UnreachableError as error:
            raise TrainerError(
                ExitCode.STORAGE_UNAVAILABLE,
                "SourceUnavailable",
                f"{place}: no answer for {self._seconds:.0f} s: {error}; check that it can be "
                "reached from the pod (NetworkPolicy, proxy, DNS), or copy the file to S3",
                self._param,
            ) from error
