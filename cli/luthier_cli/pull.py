"""`luthier pull`: an artifact's files into a folder, each as its manifest says."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from luthier_cli import artifacts
from luthier_cli.errors import CliError
from luthier_cli.revisions import find, revisions_of, with_result
from luthier_cli.state import Resource, status_of
from luthier_cli.target import Target
from luthier_cli.transfer import Show

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Published:
    """An artifact. `sha256` of its manifest, where the resource tells it."""

    uri: str
    sha256: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A file of it."""

    path: str
    bytes: int
    sha256: str


def published(resource: Resource, target: Target, revision: str | None) -> Published:
    """The result in use, or that of a revision. Raises CliError where there is none."""
    if revision is not None:
        return Published(str(with_result(find(revisions_of(resource), revision)).uri))
    status = status_of(resource)
    found = status.get("inUse") or status.get("artifact") or status.get("current")
    if not found:
        raise CliError(
            f"{target} has no result yet ({status.get('phase') or 'Pending'})",
            f"wait for it: luthier watch {target.argument}",
        )
    return Published(found["uri"], found.get("manifestSha256"))


def read_manifest(of: Published, endpoint: str | None) -> bytes:
    """Its manifest. Raises CliError where that is another one than the resource tells."""
    manifest = artifacts.read(of.uri, artifacts.MANIFEST, endpoint)
    if of.sha256 and hashlib.sha256(manifest).hexdigest() != of.sha256:
        raise CliError(
            f"{of.uri}/{artifacts.MANIFEST} isn't the one that the run has published",
            "somebody has written there since; ask who may, and make it anew: luthier rerun",
        )
    return manifest


def files_of(manifest: bytes, patterns: Sequence[str] = ()) -> list[Wanted]:
    """The files that a manifest lists, of those that match a pattern where there are any; the
    manifest isn't among them. Raises CliError where it is none, or nothing matches."""
    try:
        listed: dict[str, Any] = json.loads(manifest)["files"]
        files = [Wanted(path, int(it["bytes"]), str(it["sha256"])) for path, it in listed.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CliError("the manifest lists no files", "name an artifact's folder") from None
    for file in files:
        _require_inside(file.path)
    if not patterns:
        return files
    found = [it for it in files if any(fnmatchcase(it.path, pattern) for pattern in patterns)]
    if not found:
        tops = dict.fromkeys(PurePosixPath(it.path).parts[0] for it in files)
        raise CliError(f"no file matches {' or '.join(patterns)}", f"there are: {', '.join(tops)}")
    return found


def pull(
    uri: str, manifest: bytes, files: Sequence[Wanted], to: Path, endpoint: str | None, show: Show
) -> int:
    """Bring `files` into the folder `to`, and their manifest last; returns how many weren't there.

    A file appears whole, with its digest checked, or not at all. Raises CliError, also where `to`
    holds another artifact.
    """
    _require_free(to, manifest)
    new = 0
    for file in files:
        path = to / file.path
        if _is_there(path, file):
            show(file.path, file.bytes)
            continue
        with _written(path) as into, artifacts.opened(uri, file.path, endpoint) as stream:
            digest, left = hashlib.sha256(), file.bytes
            while left >= 0 and (chunk := stream.read(_CHUNK)):
                digest.update(chunk)
                into.write(chunk)
                left -= len(chunk)
                show(file.path, len(chunk))
            if left or digest.hexdigest() != file.sha256:
                raise CliError(
                    f"{uri}/{file.path} isn't as its manifest says: it was changed or cut off",
                    "nothing of it was kept; make the result anew: luthier rerun",
                )
        new += 1
    with _written(to / artifacts.MANIFEST) as into:
        into.write(manifest)
    return new


def _require_inside(path: str) -> None:
    """Raises CliError for a path that would be written outside of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise CliError(f"the manifest names {path!r}, which leads out of the artifact", "")


def _require_free(to: Path, manifest: bytes) -> None:
    """Raises CliError where another artifact lies."""
    there = to / artifacts.MANIFEST
    if there.exists() and there.read_bytes() != manifest:
        raise CliError(f"{to} holds another result", "name another folder with --to")


def _is_there(path: Path, file: Wanted) -> bool:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears once it is whole. Raises CliError where it can't be written."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            yield stream
        os.replace(part, path)
    except OSError as error:
        raise CliError(f"can't write {path}: {error.strerror}", "name a folder with --to") from None
    finally:
        part.unlink(missing_ok=True)
