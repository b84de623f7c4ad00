"""The files of a package: those that are built here, and those that storage copies from the
package before."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from luthier_trainer.bundle.index import INDEX, MODEL_FOLDER, File, Index
from luthier_trainer.bundle.parts import describe
from luthier_trainer.bundle.previous import Previous
from luthier_trainer.bundle.readme import readme
from luthier_trainer.log import log
from luthier_trainer.packages.genai.readme import CONFIG
from luthier_trainer.parallel import run_all
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import ObjectStore

_LOADER = "luthier_bundle.py"
_GENAI = f"{MODEL_FOLDER}/{CONFIG}"


@dataclass(frozen=True)
class Copy:
    """A file of the package before: its URI, what it must be, and its content."""

    uri: str
    file: File
    read: Callable[[], bytes | None]


class Contents:
    """What goes into a package. Files that are built lie below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._copies: dict[str, Copy] = {}

    def take(self, key: str, previous: Previous, old: str, file: File) -> None:
        """Let `key` be the file `old` of the package before."""
        self._copies[key] = Copy(previous.uri(old), file, partial(previous.store.read, old))

    def write(self, title: str, index: Index) -> None:
        """Write what describes the package."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(index.to_json(), indent=2, ensure_ascii=False)
        (self.folder / INDEX).write_text(text + "\n")
        (self.folder / "README.md").write_text(readme(title, index, self._genai_config()))
        shutil.copyfile(Path(__file__).with_name(_LOADER), self.folder / _LOADER)

    def _genai_config(self) -> dict[str, Any]:
        """The base's, which is built here or lies in the package before."""
        path = self.folder / _GENAI
        data = path.read_bytes() if path.exists() else self._copies[_GENAI].read()
        found: dict[str, Any] = json.loads(data or b"{}")
        return found

    def copy(self, output: ObjectStore) -> dict[str, dict[str, Any]]:
        """Copy what is taken over; returns what these files are, for the manifest."""
        run_all(partial(output.copy, key, copy.uri) for key, copy in self._copies.items())
        if self._copies:
            size = sum(copy.file.bytes for copy in self._copies.values())
            log(f"copied {len(self._copies)} files of the package before, {size / 1e6:.0f} MB")
        return {key: copy.file.to_json() for key, copy in self._copies.items()}


def local_file(previous: Previous, key: str, file: File, folder: Path) -> Path | None:
    """A file of the package before, here; None: it isn't what was published."""
    if isinstance(previous.store, FileStore):
        path = previous.store.local(key)
    else:
        path = folder / key
        previous.store.download(key, path)
    return path if describe(path) == file else None


def local_model(previous: Previous, files: dict[str, File], folder: Path) -> Path | None:
    """The folder of the base's part of the package before, here; None: it isn't what was
    published."""
    paths = [local_file(previous, key, file, folder) for key, file in files.items()]
    if None in paths:
        return None
    root = previous.store.local("") if isinstance(previous.store, FileStore) else folder
    return root / MODEL_FOLDER
