"""What was built and measured, kept in storage beside the outputs: a killed pod goes on with
what is left, and nothing is built twice.

A package lies below its key, a digest of all that shapes it: first its files, then package.json,
which names them with their digests. A measurement is one object below it, by the digest of all
that shapes that.
"""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from luthier_trainer.parallel import run_all
from luthier_trainer.publish import describe
from luthier_trainer.storage.objectstore import ObjectStore

FOLDER = "cache"
_LISTING = "package.json"
_MEASURED = "measured-"


def key_of(document: dict[str, Any]) -> str:
    """A name for what the document describes."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def folder_beside(output: str) -> str:
    """URI of the shelf of an output: beside the revisions of its resource."""
    return f"{output.rstrip('/').rpartition('/')[0]}/{FOLDER}"


class Shelf:
    """Of one resource; `store` is at folder_beside(output)."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def listing(self, key: str) -> dict[str, Any] | None:
        """Of a package that is complete: file → {sha256, bytes}."""
        data = self._store.read(f"{key}/{_LISTING}")
        found: dict[str, Any] | None = json.loads(data)["files"] if data else None
        return found

    def put(self, key: str, folder: Path) -> dict[str, Any]:
        """Keep a package; returns its listing."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): describe(path) for path in paths}
        run_all(
            partial(self._store.upload, f"{key}/package/{name}", folder / name) for name in files
        )
        self._store.write(f"{key}/{_LISTING}", json.dumps({"files": files}, indent=2).encode())
        return files

    def fetch(self, key: str, folder: Path) -> bool:
        """Fill `folder` with a package; False where it isn't there, or is damaged."""
        files = self.listing(key)
        if files is None:
            return False
        try:
            run_all(
                partial(self._store.download, f"{key}/package/{name}", folder / name)
                for name in files
            )
        except FileNotFoundError:
            return False
        return all(describe(folder / name) == wanted for name, wanted in files.items())

    def measured(self, key: str, name: str) -> dict[str, Any] | None:
        """A measurement of a package."""
        data = self._store.read(f"{key}/{_MEASURED}{name}.json")
        found: dict[str, Any] | None = json.loads(data) if data else None
        return found

    def put_measured(self, key: str, name: str, document: dict[str, Any]) -> None:
        self._store.write(f"{key}/{_MEASURED}{name}.json", json.dumps(document).encode())

    def finished(self) -> int:
        """How many measurements there are, of whatever."""
        names = (entry.key.rpartition("/")[2] for entry in self._store.entries())
        return sum(name.startswith(_MEASURED) for name in names)

    def keep_only(self, keys: set[str]) -> None:
        """Delete everything below other keys."""
        entries = self._store.entries()
        self._store.delete([e.key for e in entries if e.key.partition("/")[0] not in keys])
