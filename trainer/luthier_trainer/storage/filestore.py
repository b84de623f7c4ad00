"""A folder as object store: atomic by rename, write-once by link."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

from luthier_trainer.storage.confined import check_entry, check_tree, confined, open_file
from luthier_trainer.storage.keys import below
from luthier_trainer.storage.objectstore import Entry
from luthier_trainer.storage.uri import encoded, split

# Files that are being written, and the lock of replace(): never listed.
_HIDDEN_PREFIX = ".luthier-"


class FileStore:
    """Objects as files below a folder. See ObjectStore.

    `within`: the folders that links may lead to, of a folder that others fill; None: it is the
    run's own. `param`: the field of the spec that errors name.
    """

    def __init__(
        self, root: Path, within: Sequence[Path] | None = None, param: str = "output.uri"
    ) -> None:
        self._root = root
        self._within = within
        self._param = param
        self.uri = f"file://{encoded(str(root))}"

    def local(self, key: str) -> Path:
        """The file of an object, to read in place; without a key the whole folder, which has
        been checked. Raises TrainerError, FileNotFoundError."""
        if not key:
            check_tree(self._root, self._within, self._param)
            return self._root
        with self._open(key):
            return self._path(key)

    def read(self, key: str) -> bytes | None:
        try:
            with self._open(key) as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def read_tagged(self, key: str) -> tuple[bytes, str] | None:
        data = self.read(key)
        return None if data is None else (data, _etag(data))

    def write(self, key: str, data: bytes) -> None:
        os.replace(self._temporary(key, data), self._path(key))

    def write_once(self, key: str, data: bytes) -> bool:
        temporary = self._temporary(key, data)
        try:
            os.link(temporary, self._path(key))
        except FileExistsError:
            return self.read(key) == data
        finally:
            temporary.unlink()
        return True

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        with self._lock():
            current = self.read_tagged(key)
            if current is None or current[1] != etag:
                return False
            self.write(key, data)
            return True

    def upload(self, key: str, path: Path) -> None:
        temporary = self._temporary(key, b"")
        try:
            shutil.copyfile(path, temporary)
        except FileNotFoundError:
            temporary.unlink()
            raise
        os.replace(temporary, self._path(key))

    def copy(self, key: str, source: str) -> None:
        self.upload(key, Path(split(source)[2]))

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._open(key) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        except (NotADirectoryError, IsADirectoryError) as error:
            raise FileNotFoundError(key) from error

    def entries(self, prefix: str = "") -> list[Entry]:
        found = []
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if not key.startswith(prefix) or name.startswith(_HIDDEN_PREFIX):
                    continue
                if stat := check_entry(path, self._within, self._param):
                    found.append(Entry(key, stat.st_size, _stamp(stat)))
        return sorted(found, key=lambda entry: entry.key)

    def entry(self, key: str) -> Entry | None:
        try:
            with self._open(key) as file:
                stat = os.fstat(file.fileno())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return Entry(key, stat.st_size, _stamp(stat))

    def delete(self, keys: list[str]) -> None:
        for key in keys:
            path = self._path(key)
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._root:
                    break
                try:
                    parent.rmdir()
                except OSError:  # not empty, or somebody else's deletion was faster
                    break

    def folders(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return sorted(it.name for it in self._root.iterdir() if it.is_dir() and not it.is_symlink())

    def abort_uploads(self, prefix: str, older_than: timedelta) -> int:  # noqa: ARG002 - a store's
        return 0  # files appear by one rename

    def _path(self, key: str) -> Path:
        return below(self._root, key, self._param)

    def _open(self, key: str) -> IO[bytes]:
        return open_file(confined(self._path(key), self._within, self._param), self._param)

    def _temporary(self, key: str, data: bytes) -> Path:
        folder = self._path(key).parent
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_HIDDEN_PREFIX, dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        return Path(name)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / f"{_HIDDEN_PREFIX}lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _stamp(stat: os.stat_result) -> str:
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
