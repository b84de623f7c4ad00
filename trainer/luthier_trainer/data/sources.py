"""The files of a dataset, made local: one file, or those of a folder's splits (layout.py)."""

import gzip
import hashlib
import re
import shutil
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer.data.layout import check, find_splits, is_data, split_of
from luthier_trainer.data.rows import FORMATS, LocalFile, data_suffix, malformed
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError, is_disk_full
from luthier_trainer.log import log
from luthier_trainer.parallel import run_all
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import Entry, ReadableStore
from luthier_trainer.storage.source import open_source


@dataclass(frozen=True)
class Source:
    """Local files by split, each split's in order, none of a split that isn't wanted; `digests`
    are of the files as stored."""

    uri: str
    splits: dict[str, list[LocalFile]]
    digests: tuple[str, ...]
    param: str = "dataset.uri"

    @property
    def size(self) -> int:
        """Bytes, uncompressed."""
        return sum(file.path.stat().st_size for files in self.splits.values() for file in files)


def digest(sources: Sequence[Source]) -> str:
    """sha256 over the sorted digests of all files."""
    digests = sorted(one for source in sources for one in source.digests)
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()


def fetch(
    uri: str,
    spec: RunSpec,
    folder: Path,
    param: str = "dataset.uri",
    revision: str | None = None,
    wanted: Collection[str] | None = None,
) -> Source:
    """The files of the `wanted` splits (left out: of all), those that aren't local downloaded to
    `folder`. A folder may lack some of them: select() tells.

    Raises TrainerError.
    """
    base, _, name = uri.rstrip("/").rpartition("/")
    if data_suffix(name):
        path = _fetch_one(uri, base, name, spec, folder, param, revision)
        stem = split_of(name)
        file = _plain(LocalFile(name, path), folder)
        splits = {"train": [file]}
        if re.fullmatch(r"\w+", stem):
            splits[stem] = [file]
        return Source(uri, splits, (sha256_of(path),), param)
    store = open_source(uri, "datasets", spec, param, revision)
    entries = {entry.key: entry for entry in store.entries() if is_data(entry.key)}
    found = find_splits(entries, wanted or ())
    if not found:
        raise _no_data(store.uri, entries, param)
    used = {split: keys for split, keys in found.items() if wanted is None or split in wanted}
    for split, keys in used.items():
        check(store.uri, split, keys, param)
    paths = _local(store, [entries[key] for key in sorted(set(chain(*used.values())))], folder)
    digests = tuple(sha256_of(path) for path in paths.values())
    names = {key: key.removeprefix("data/") for key in paths}
    files = {key: _plain(LocalFile(names[key], path), folder) for key, path in paths.items()}
    split_files = {split: [files[key] for key in used.get(split, ())] for split in found}
    return Source(uri, split_files, digests, param)


def _fetch_one(
    uri: str,
    base: str,
    name: str,
    spec: RunSpec,
    folder: Path,
    param: str,
    revision: str | None,
) -> Path:
    store = open_source(base, "datasets", spec, param, revision)
    try:
        if isinstance(store, FileStore):
            path = store.local(name)
            if not path.is_file():
                raise FileNotFoundError(name)
            return path
        path = folder / name
        log(f"data: downloading {uri}")
        store.download(name, path)
    except FileNotFoundError:
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "DatasetNotFound",
            f"{uri}: no such file; upload it, or correct the URI",
            param,
        ) from None
    return path


def _no_data(uri: str, keys: Iterable[str], param: str) -> TrainerError:
    folders = sorted({key.rpartition("/")[0] for key in keys})
    remedy = (
        f"there are some in {', '.join(folders[:10])}: name that folder"
        if folders
        else "upload one per split (train.jsonl, test.jsonl), or correct the URI"
    )
    return TrainerError(
        ExitCode.NOT_FOUND,
        "DatasetNotFound",
        f"{uri}: no file {', '.join(f'*{suffix}' for suffix in FORMATS)} there; {remedy}",
        param,
    )


def _local(store: ReadableStore, entries: Sequence[Entry], folder: Path) -> dict[str, Path]:
    """Key → file."""
    if isinstance(store, FileStore):
        return {entry.key: store.local(entry.key) for entry in entries}
    paths = {entry.key: folder / entry.key for entry in entries}
    size = sum(entry.size for entry in entries)
    log(f"data: downloading {len(entries)} files, {size / 1e6:.1f} MB, of {store.uri}")
    run_all(partial(store.download, key, path) for key, path in paths.items())
    return paths


def _plain(file: LocalFile, folder: Path) -> LocalFile:
    """The file itself, or its unpacked copy."""
    ending = PurePosixPath(file.name.lower()).suffix
    if ending not in (".gz", ".zst"):
        return file
    path = folder / f"{file.name}.plain"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.path.open("rb") as packed, path.open("wb") as plain:
            shutil.copyfileobj(_unpacked(packed, ending), plain, 1 << 20)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        if is_disk_full(error):
            raise
        raise malformed(f"{file.name}:1", f"not {ending[1:]}: {error}") from error
    return LocalFile(file.name, path)


def _unpacked(packed: IO[bytes], ending: str) -> Any:
    if ending == ".gz":
        return gzip.GzipFile(fileobj=packed)
    import zstandard

    class Reader:
        """Raises ValueError where zstandard raises an error of its own."""

        def __init__(self) -> None:
            decompressor = zstandard.ZstdDecompressor()
            self._stream = decompressor.stream_reader(packed, read_across_frames=True)

        def read(self, size: int = -1) -> bytes:
            try:
                return bytes(self._stream.read(size))
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from error

    return Reader()
