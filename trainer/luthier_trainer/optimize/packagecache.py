"""What was built and measured, kept in storage beside the outputs: a killed pod goes on with
what is left, and nothing is built twice.

A package lies below its key, a digest of all that shapes it: first its files, then package.json,
which names them with their digests. A measurement is one object below it, by the digest of all
that shapes that. Who uses a package leaves a mark below its key: what others use, such as another
cluster on the same bucket, is never deleted.
"""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.log import log
from luthier_trainer.parallel import run_all
from luthier_trainer.pod.publish import describe
from luthier_trainer.storage.keys import require
from luthier_trainer.storage.objectstore import ObjectStore

FOLDER = "cache"
_LISTING = "package.json"
_MEASURED = "measured-"
_USERS = "users/"


def key_of(document: dict[str, Any]) -> str:
    """A name for what the document describes."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def folder_beside(output: str) -> str:
    """URI of the cache of an output: beside the revisions of its resource."""
    return f"{output.rstrip('/').rpartition('/')[0]}/{FOLDER}"


class PackageCache:
    """Of one resource; `store` is at folder_beside(output), `uid` the resource's."""

    def __init__(self, store: ObjectStore, uid: str) -> None:
        self._store = store
        self._mark = f"{_USERS}{hashlib.sha256(uid.encode()).hexdigest()[:32]}"
        self._marked: set[str] = set()

    def listing(self, key: str) -> dict[str, Any] | None:
        """Of a package that is complete: file → {sha256, bytes}."""
        data = self._store.read(f"{key}/{_LISTING}")
        if not data:
            return None
        self._use(key)
        try:
            return {require(name): dict(file) for name, file in parse(data)["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            log(f"warning: {self._store.uri}/{key}/{_LISTING} is damaged: it is made anew")
            return None

    def put(self, key: str, folder: Path) -> dict[str, Any]:
        """Keep a package; returns its listing."""
        self._use(key)
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
        try:
            return parse(data) if data else None
        except DocumentError:
            return None

    def put_measured(self, key: str, name: str, document: dict[str, Any]) -> None:
        self._use(key)
        self._store.write(f"{key}/{_MEASURED}{name}.json", json.dumps(document).encode())

    def finished(self) -> int:
        """How many measurements there are, of whatever."""
        names = (entry.key.rpartition("/")[2] for entry in self._store.entries())
        return sum(name.startswith(_MEASURED) for name in names)

    def keep_only(self, keys: set[str]) -> None:
        """Delete everything below other keys that this resource alone used; of those that
        others use too, its mark."""
        below: dict[str, list[str]] = {}
        for entry in self._store.entries():
            key, _, name = entry.key.partition("/")
            below.setdefault(key, []).append(name)
        for key in below.keys() - keys:
            users = {name for name in below[key] if name.startswith(_USERS)}
            if self._mark in users:
                going = below[key] if users == {self._mark} else [self._mark]
                # The mark last: half deleted, it is still this resource's to delete.
                going = sorted(going, key=self._mark.__eq__)
                self._store.delete([f"{key}/{name}" for name in going])

    def _use(self, key: str) -> None:
        if key not in self._marked:
            self._store.write(f"{key}/{self._mark}", b"")
            self._marked.add(key)
