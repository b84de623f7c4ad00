"""Models and data sets on a hub (hf://OWNER/NAME[/PATH]), by its HTTP interface
(https://huggingface.co/docs/hub/api): GET api/models/…/revision/… and …/resolve/….

Plain HTTP, not the package huggingface_hub: the process runs with HF_HUB_OFFLINE=1, so that
nothing that transformers does ever calls out.
"""

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from luthier_api.result import ExitCode
from luthier_trainer.credentials import credential
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.http import (
    Http,
    HttpError,
    TooLargeError,
    UnreachableError,
    UntrustedServerError,
)
from luthier_trainer.storage.keys import problem
from luthier_trainer.storage.objectstore import Entry
from luthier_trainer.storage.uri import hub_parts, shown

PUBLIC_HUB = "https://huggingface.co"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[A-Za-z0-9]{1,64}")


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
        if "@" in self._endpoint.partition("://")[2].partition("/")[0]:
            raise self._failure(
                ExitCode.INVALID_RUN_SPEC,
                "UnsupportedUri",
                f"the hub's address {shown(self._endpoint)} has a user's name or password before "
                "its host; leave them out of hub.endpoint: a token belongs in model.tokenSecretRef",
            )
        self._http = Http(retry_seconds, credential("HF_TOKEN", param))
        card = self._call(
            lambda: self._http.json(
                f"{self._endpoint}/api/{kind}/{self._repository}/revision/"
                f"{quote(self._revision, safe='')}?blobs=true"
            )
        )
        try:
            self.commit = _commit(card)
            self.licence = _licence(card)
            self._entries, self._sha256 = self._listed(card.get("siblings", []))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._failure(
                ExitCode.STORAGE_UNAVAILABLE,
                "HubUnavailable",
                f"{shown(self._endpoint)} answers as no hub does; correct hub.endpoint, or ask who "
                "runs it",
            ) from error

    @property
    def identity(self) -> str:
        """Where the content is from, for a cache's key."""
        return f"{self._endpoint} {self._kind} {self._repository} {self.commit}"

    def entries(self, prefix: str = "") -> list[Entry]:
        return [entry for entry in self._entries if entry.key.startswith(prefix)]

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.key == key), None)

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
            if not name.startswith(base) or problem(name):
                continue
            key = name[len(base) :]
            lfs = item.get("lfs") or {}
            if "sha256" in lfs:
                digests[key] = str(lfs["sha256"])
            etag = str(lfs.get("sha256") or item.get("blobId") or self.commit)
            entries.append(Entry(key, int(item.get("size") or lfs.get("size") or 0), etag))
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
                f"{shown(self._endpoint)}: {error}; give the pod its CA (SSL_CERT_FILE)",
            ) from error
        except TooLargeError as error:
            raise self._failure(
                ExitCode.DATA, "TooLarge", f"a file has {error}; split it"
            ) from error
        except UnreachableError as error:
            raise self._failure(
                ExitCode.STORAGE_UNAVAILABLE,
                "HubUnavailable",
                f"no answer from {shown(self._endpoint)} for {self._retry_seconds:.0f} s: {error}; "
                "check that it can be reached from the pod (NetworkPolicy, proxy, DNS), or copy "
                "the files to S3",
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
                f"no such {what} at {shown(self._endpoint)}; correct OWNER/NAME",
            )
        return self._failure(
            ExitCode.STORAGE_UNAVAILABLE, "HubUnavailable", f"{error}; retry later"
        )

    def _failure(
        self, exit_code: ExitCode, code: str, text: str, param: str | None = None
    ) -> TrainerError:
        return TrainerError(exit_code, code, f"{self.uri}: {text}", param or self._param)


def _parse(uri: str, kind: str, param: str) -> tuple[str, str]:
    parts = hub_parts(uri, kind)
    names = parts[:2]
    if len(names) < 2 or not all(map(_NAME.fullmatch, names)) or problem("/".join(parts)):
        raise TrainerError(
            ExitCode.INVALID_RUN_SPEC,
            "UnsupportedUri",
            f"{uri}: write hf://OWNER/NAME, or hf://OWNER/NAME/PATH",
            param,
        )
    return "/".join(parts[:2]), "/".join(parts[2:])


def _commit(card: dict[str, Any]) -> str:
    """It becomes part of URLs and of the name of a cached folder."""
    commit = card["sha"]
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ValueError("no commit")
    return commit


def _licence(card: dict[str, Any]) -> str | None:
    stated = (card.get("cardData") or {}).get("license")
    if isinstance(stated, list):
        stated = ", ".join(map(str, stated))
    return str(stated)[:200] if stated else None
