"""Models and data sets on a hub (hf://OWNER/NAME[/PATH]), by its HTTP interface
(https://huggingface.co/docs/hub/api): GET api/models/…/revision/… and …/resolve/….

Plain HTTP, not the package huggingface_hub: the process runs with HF_HUB_OFFLINE=1, so that
nothing that transformers does ever calls out.
"""

import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from luthier_api.result import ExitCode
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.http import (
    Http,
    HttpError,
    TooLargeError,
    UnreachableError,
    UntrustedServerError,
)
from luthier_trainer.storage.objectstore import Entry

PUBLIC_HUB = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class HubStore:
    """The files of one repository at one commit, below a path in it. See ReadableStore.

    `commit` is what the revision came to, `licence` what the repository's card says.
    """

    def __init__(
        self,
        uri: str,
        kind: Literal["models", "datasets"],
        revision: str | None,
        endpoint: str | None,
        retry_seconds: float,
        param: str,
    ) -> None:
        self.uri = uri.rstrip("/")
        self._repository, self._path = _parse(self.uri, kind, param)
        self._kind, self._param = kind, param
        self._revision = revision or "main"
        self._endpoint = (endpoint or PUBLIC_HUB).rstrip("/")
        self._retry_seconds = retry_seconds
        self._http = Http(retry_seconds, os.environ.get("HF_TOKEN") or None)
        card = self._call(
            lambda: self._http.json(
                f"{self._endpoint}/api/{kind}/{self._repository}/revision/"
                f"{quote(self._revision, safe='')}?blobs=true"
            )
        )
        self.commit: str = card["sha"]
        self.licence = _licence(card)
        self._entries, self._sha256 = self._listed(card.get("siblings", []))

    @property
    def identity(self) -> str:
        """Where the content is from, for a cache's key."""
        return f"{self._endpoint} {self._kind} {self._repository} {self.commit}"

    def entries(self, prefix: str = "") -> list[Entry]:
        return [entry for entry in self._entries if entry.key.startswith(prefix)]

    def download(self, key: str, path: Path) -> None:
        if not any(entry.key == key for entry in self._entries):
            raise FileNotFoundError(f"{self.uri}/{key}")
        kind = "" if self._kind == "models" else "datasets/"
        name = quote(f"{self._path}/{key}" if self._path else key)
        url = f"{self._endpoint}/{kind}{self._repository}/resolve/{self.commit}/{name}"
        self._call(lambda: self._http.download(url, path))
        expected = self._sha256.get(key)
        if expected:
            found = sha256_of(path)
            if found != expected:
                raise TrainerError(
                    ExitCode.STORAGE_UNAVAILABLE,
                    "DownloadCorrupt",
                    f"{self.uri}/{key}: the hub names sha256 {expected[:16]}…, what came has "
                    f"{found[:16]}…; check proxies and mirrors on the way, then retry",
                    self._param,
                )

    def _listed(self, siblings: list[dict[str, Any]]) -> tuple[list[Entry], dict[str, str]]:
        base = f"{self._path}/" if self._path else ""
        entries, digests = [], {}
        for item in siblings:
            name: str = item["rfilename"]
            if not name.startswith(base) or ".." in name.split("/"):
                continue
            key = name[len(base) :]
            lfs = item.get("lfs") or {}
            if "sha256" in lfs:
                digests[key] = lfs["sha256"]
            etag = lfs.get("sha256") or item.get("blobId") or self.commit
            entries.append(Entry(key, item.get("size") or lfs.get("size") or 0, etag))
        return sorted(entries, key=lambda entry: entry.key), digests

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except HttpError as error:
            raise self._refused(error) from error
        except UntrustedServerError as error:
            raise self._failure(
                ExitCode.DENIED,
                "UntrustedServer",
                f"{error} at {self._endpoint}; give the pod its CA (SSL_CERT_FILE)",
            ) from error
        except TooLargeError as error:
            raise self._failure(
                ExitCode.DATA, "TooLarge", f"a file has {error}; split it"
            ) from error
        except UnreachableError as error:
            raise self._failure(
                ExitCode.STORAGE_UNAVAILABLE,
                "HubUnavailable",
                f"no answer from {self._endpoint} for {self._retry_seconds:.0f} s: {error}; check "
                "that it can be reached from the pod (NetworkPolicy, proxy, DNS), or copy the "
                "files to S3",
            ) from error

    def _refused(self, error: HttpError) -> TrainerError:
        what = "model" if self._kind == "models" else "dataset"
        missing = "ModelNotFound" if what == "model" else "DatasetNotFound"
        if error.code == "RevisionNotFound":
            field = self._param.rpartition(".")[0] + ".revision"
            return self._failure(
                ExitCode.NOT_FOUND,
                "RevisionNotFound",
                f"the hub has no revision {self._revision!r} of it; name a branch, tag or commit",
                field,
            )
        if error.code == "GatedRepo" or error.status == 403:
            return self._failure(
                ExitCode.DENIED,
                "HubGated",
                f"the {what} is gated, and this token has no access ({error}); accept its terms "
                "on the hub, and put the token of that account into model.tokenSecretRef",
            )
        if error.status == 401:
            return self._failure(
                ExitCode.DENIED,
                "HubDenied",
                f"the hub refuses ({error}): no such {what}, or a private one; correct the URI, "
                "or name a token with access in model.tokenSecretRef",
            )
        if error.status == 404:
            return self._failure(
                ExitCode.NOT_FOUND,
                missing,
                f"no such {what} at {self._endpoint}; correct OWNER/NAME",
            )
        return self._failure(
            ExitCode.STORAGE_UNAVAILABLE, "HubUnavailable", f"{error}; retry later"
        )

    def _failure(
        self, exit_code: ExitCode, code: str, text: str, param: str | None = None
    ) -> TrainerError:
        return TrainerError(exit_code, code, f"{self.uri}: {text}", param or self._param)


def _parse(uri: str, kind: str, param: str) -> tuple[str, str]:
    parts = uri.removeprefix("hf://").split("/")
    if parts[0] == kind and len(parts) > 2:
        parts = parts[1:]
    if len(parts) < 2 or not all(_NAME.fullmatch(part) for part in parts[:2]) or ".." in parts:
        raise TrainerError(
            ExitCode.INVALID_RUN_SPEC,
            "UnsupportedUri",
            f"{uri}: write hf://OWNER/NAME, or hf://OWNER/NAME/PATH",
            param,
        )
    return "/".join(parts[:2]), "/".join(parts[2:])


def _licence(card: dict[str, Any]) -> str | None:
    stated = (card.get("cardData") or {}).get("license")
    if isinstance(stated, list):
        stated = ", ".join(map(str, stated))
    return str(stated) if stated else None
