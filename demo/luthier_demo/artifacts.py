"""What a run published in S3: its files listed, some of them fetched, or all of them checked."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from luthier_cluster import ClusterError

Json = dict[str, Any]

MANIFEST = "manifest.json"
# What a run leaves beside its result, for its own use.
_STATE = ("checkpoints/", "attempts/", "claim.json")


class DamagedError(ClusterError):
    """A file in S3 isn't the one that was published."""


def listed(s3: Any, uri: str) -> list[tuple[str, int]]:
    """(name, bytes) of the artifact's files, without those of the run's state."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    found = [
        (entry["Key"].removeprefix(f"{prefix}/"), entry["Size"])
        for page in pages
        for entry in page.get("Contents", [])
    ]
    return [(name, size) for name, size in found if not name.startswith(_STATE)]


def download(s3: Any, uri: str, names: list[str], folder: Path) -> None:
    """Those files of the artifact into `folder`."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, f"{prefix}/{name}", str(file))


def download_report(s3: Any, uri: str, folder: Path) -> None:
    """The artifact's report/ and model card."""
    names = [name for name, _ in listed(s3, uri)]
    wanted = [name for name in names if name.startswith("report/") or name == "README.md"]
    download(s3, uri, wanted, folder)


def download_all(s3: Any, artifact: Json, folder: Path) -> None:
    """Every file of an artifact, as status names it, into `folder`, which then holds nothing else;
    not again what lies there from before.

    Raises DamagedError where a file isn't as its digest says.
    """
    manifest = folder / MANIFEST
    if manifest.is_file() and _digest(manifest) == artifact["manifestSha256"]:
        return
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    uri = artifact["uri"]
    download(s3, uri, [MANIFEST], partial)
    _check(partial / MANIFEST, artifact["manifestSha256"], uri)
    files: Json = json.loads((partial / MANIFEST).read_bytes())["files"]
    download(s3, uri, list(files), partial)
    for name, file in files.items():
        _check(partial / name, file["sha256"], uri)
    partial.rename(folder)


def _check(file: Path, sha256: str, uri: str) -> None:
    if _digest(file) != sha256:
        raise DamagedError(
            f"{file.name} of {uri} isn't what was published: its sha256 is another. Remove that "
            "folder in S3 and the resource, and apply it again"
        )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
