"""Results on this machine that a manifest refers to: what a cluster knows from its resources is
found in the output folder, NAMESPACE/NAME/REVISION/manifest.json."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from luthier_api.finetuning import FineTuning
from luthier_api.kinds import ADAPTER_BUNDLE, FINE_TUNE_JOB, Kind
from luthier_api.optimizejob import SourceRef
from luthier_cli.errors import CliError
from luthier_cli.paths import file_uri

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Result:
    """The finished result of a FineTuneJob: where it lies, and what was asked for."""

    source: SourceRef
    spec: FineTuning


@dataclass(frozen=True)
class _Finished:
    folder: Path
    data: bytes
    manifest: dict[str, Any]

    @property
    def age(self) -> tuple[str, int]:
        """Rises with the time of publication."""
        return str(self.manifest.get("created", "")), (self.folder / _MANIFEST).stat().st_mtime_ns


def folder_of(uri: str) -> Path | None:
    """The folder of a file:// URI."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path, errors="surrogateescape")) if parts.scheme == "file" else None


def newest_result(output: str, namespace: str, name: str) -> Result | None:
    """Of the FineTuneJob `name`; None: there is none. `output`: URI of the folder that holds
    NAMESPACE/NAME/REVISION/.

    Raises CliError where results aren't on this machine, or can't be read.
    """
    found = list(_finished(_place(output) / namespace / name, FINE_TUNE_JOB))
    return _result(max(found, key=lambda it: it.age)) if found else None


def just_made(spec: FineTuning, status: Mapping[str, Any]) -> Result:
    """Of a run that has just completed, wherever it lies."""
    artifact = status["artifact"]
    source = SourceRef(
        uri=artifact["uri"],
        revision=status["revision"],
        manifest_sha256=artifact["manifestSha256"],
    )
    return Result(source, spec)


def packages(output: str, namespace: str, name: str) -> list[str]:
    """URIs of the packages of an AdapterBundle, newest first; none where they are in S3."""
    place = folder_of(output)
    if place is None:
        return []
    found = _finished(place / namespace / name, ADAPTER_BUNDLE)
    return [file_uri(it.folder) for it in sorted(found, key=lambda it: it.age, reverse=True)]


def _place(output: str) -> Path:
    folder = folder_of(output)
    if folder is None:
        raise CliError(
            f"results in {output} aren't looked up from here",
            "refer to results in a folder (--output DIR), or name the source by its URI",
        )
    return folder


def _finished(folder: Path, kind: Kind) -> Iterator[_Finished]:
    for path in sorted(folder.glob(f"*/{_MANIFEST}")):
        data = path.read_bytes()
        try:
            manifest = json.loads(data)
            made_by = manifest["run"].get("kind", FINE_TUNE_JOB.name)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CliError(f"{path} is no manifest of a result", "remove its folder") from None
        if made_by == kind.name:
            yield _Finished(path.parent, data, manifest)


def _result(found: _Finished) -> Result:
    try:
        spec = FineTuning.read(found.manifest["spec"])
    except (ValidationError, KeyError) as error:
        raise CliError(
            f"{found.folder / _MANIFEST} is of another version of Luthier: {str(error)[:200]}",
            "remove its folder, and run its FineTuneJob again",
        ) from None
    source = SourceRef(
        uri=file_uri(found.folder),
        revision=found.folder.name,
        manifest_sha256=hashlib.sha256(found.data).hexdigest(),
    )
    return Result(source, spec)
