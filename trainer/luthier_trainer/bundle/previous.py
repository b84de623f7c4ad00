"""The package before: its parts are taken over where they are the same."""

import hashlib
from collections.abc import Iterable

from pydantic import ValidationError

from luthier_api.runspec import RunOrder
from luthier_trainer import documents
from luthier_trainer.bundle.index import INDEX, AdapterPart, BasePart, File, Index, LeftOutPart
from luthier_trainer.log import log
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.storage.keys import require
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store


class Previous:
    """A published package, of which only whole parts are used."""

    def __init__(self, store: ObjectStore, index: Index) -> None:
        self.store = store
        self._index = index
        self._sizes = {entry.key: entry.size for entry in store.entries()}

    def base(self, key: str) -> BasePart | None:
        """The base's part, if it is the same and whole."""
        part = self._index.base
        return part if part.key == key and self._whole(part.files.items()) else None

    def adapter(self, key: str) -> AdapterPart | None:
        """An adapter's part, under whatever name, if it is the same and whole."""
        for part in self._index.adapters:
            file = File(sha256=part.sha256, bytes=part.bytes)
            if part.key == key and self._whole([(part.file, file)]):
                return part
        return None

    def failed(self, key: str) -> LeftOutPart | None:
        """What became of an adapter that failed its proof."""
        return next((part for part in self._index.left_out if part.key == key), None)

    def uri(self, key: str) -> str:
        """Of a file of it."""
        return join(self.store.uri, key)

    def _whole(self, files: Iterable[tuple[str, File]]) -> bool:
        return all(self._sizes.get(key) == file.bytes for key, file in files)


def read_previous(uri: str | None, order: RunOrder) -> Previous | None:
    """None where there is none, or none that can be used."""
    if uri is None:
        return None
    store = open_store(uri, order.storage, "output.uri")
    manifest, data = store.read(MANIFEST), store.read(INDEX)
    if manifest is None or data is None:
        log(f"warning: no package at {uri}: all parts are built")
        return None
    try:
        wanted = documents.parse(manifest)["files"][INDEX]["sha256"]
        if hashlib.sha256(data).hexdigest() != wanted:
            raise ValueError(f"{INDEX} is not what was published")
        index = Index.read(documents.parse(data))
        for key in (*index.base.files, *(part.file for part in index.adapters)):
            require(key)
        return Previous(store, index)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        why = type(error).__name__ if isinstance(error, ValidationError) else error
        log(f"warning: the package at {uri} can't be used, all parts are built: {why}")
        return None
