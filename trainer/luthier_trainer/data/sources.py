"""The files of a dataset, made local: one file, those of a folder's splits (layout.py), or those
of a folder whose names are like a pattern."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from pathlib import Path

from luthier_api.result import ExitCode
from luthier_api.runspec import RunOrder
from luthier_trainer.data.content import check_content
from luthier_trainer.data.layout import check, find_splits, find_texts, is_data, is_table, split_of
from luthier_trainer.data.row import FORMATS, ROW_BYTES, WHOLE_TEXTS, LocalFile, data_suffix
from luthier_trainer.data.unpack import unpacked
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.parallel import run_all
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.keys import below
from luthier_trainer.storage.objectstore import Entry, ReadableStore
from luthier_trainer.storage.source import open_source
from luthier_trainer.storage.uri import last_part

_NAMED = 5  # files of a folder that a message names


@dataclass(frozen=True)
class Source:
    """Local files by split, each split's in order, none of a split that isn't wanted; `digests`
    are of the files as stored. `validators`: as of `look`, from before they were read."""

    uri: str
    splits: dict[str, list[LocalFile]]
    digests: tuple[str, ...]
    param: str = "dataset.uri"
    validators: dict[str, str] | None = None


def total_size(sources: Sequence[Source], enough: int) -> int:
    """Bytes of all values and rows; where they are more than `enough`, that they are more."""
    size = 0
    for file in _files(sources):
        if size > enough:
            break
        if file.suffix == ".parquet":
            from luthier_trainer.data.parquet import decoded_bytes

            size += decoded_bytes(file, enough - size)
        elif file.suffix in WHOLE_TEXTS:
            size += file.path.stat().st_size + ROW_BYTES
        else:
            size += file.path.stat().st_size
            if size <= enough:
                size += ROW_BYTES * _most_rows(file.path)
    return size


def _most_rows(path: Path) -> int:
    """As many as the file may have: each begins a line, or is an object."""
    lines = objects = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            lines += chunk.count(b"\n")
            objects += chunk.count(b"{")
    return max(lines, objects)


def stored_columns(sources: Sequence[Source]) -> set[str]:
    """Of .parquet, all of them: only those that are needed are read as rows."""
    names: set[str] = set()
    for file in _files(sources):
        if file.suffix == ".parquet":
            from luthier_trainer.data.parquet import columns_of

            names |= columns_of(file)
    return names


def _files(sources: Sequence[Source]) -> Iterable[LocalFile]:
    """Each once: a single file is train, and what its name says."""
    found = {
        file.path: file for source in sources for files in source.splits.values() for file in files
    }
    return found.values()


def digest(sources: Sequence[Source]) -> str:
    """sha256 over the sorted digests of all files."""
    digests = sorted(one for source in sources for one in source.digests)
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()


def fetch(
    uri: str,
    order: RunOrder,
    folder: Path,
    param: str = "dataset.uri",
    revision: str | None = None,
    wanted: Collection[str] | None = None,
) -> Source:
    """The files of the `wanted` splits (left out: of all), those that aren't local downloaded to
    `folder`. A folder may lack some of them: select() tells.

    Raises TrainerError.
    """
    base, name = last_part(uri)
    if _is_pattern(uri):
        store = open_source(base, "datasets", order, param, revision)
        return _of_pattern(store, uri, name, folder, param)
    if data_suffix(name):
        store = open_source(base, "datasets", order, param, revision)
        validators = _of_one(store, name, uri)
        path = _fetch_one(store, uri, name, folder, param)
        stem = split_of(name)
        file = _plain(LocalFile(name, path), folder)
        splits = {"train": [file]}
        if re.fullmatch(r"\w+", stem):
            splits[stem] = [file]
        return Source(uri, splits, (sha256_of(path),), param, validators)
    store = open_source(uri, "datasets", order, param, revision)
    found, entries = _find(store, param, wanted)
    used = {split: keys for split, keys in found.items() if wanted is None or split in wanted}
    for split, keys in used.items():
        if is_table(keys[0]):
            check(store.uri, split, keys, param)
    chosen = [entries[key] for key in sorted(set(chain(*used.values())))]
    files, digests = _opened(store, chosen, folder)
    split_files = {split: [files[key] for key in used.get(split, ())] for split in found}
    return Source(uri, split_files, digests, param, _validators(chosen))


def _is_pattern(uri: str) -> bool:
    """Whether its last part is one. A star that is meant stands as %2A."""
    return "*" in uri.rstrip("/").rpartition("/")[2]


def _of_pattern(store: ReadableStore, uri: str, pattern: str, folder: Path, param: str) -> Source:
    """The files of a folder whose names are like it: they are train, all of them."""
    chosen = _matching(store, pattern)
    if not chosen:
        raise _no_data(uri, [], [entry.key for entry in store.entries()][:_NAMED], param)
    files, digests = _opened(store, chosen, folder)
    return Source(uri, {"train": list(files.values())}, digests, param, _validators(chosen))


def _matching(store: ReadableStore, pattern: str) -> list[Entry]:
    """Data files of the folder itself, in the order of their names."""
    pattern = pattern.replace("[", "[[]")  # a star alone is one
    names = (it for it in store.entries() if "/" not in it.key and is_data(it.key))
    return sorted((it for it in names if fnmatchcase(it.key, pattern)), key=lambda it: it.key)


def _opened(
    store: ReadableStore, entries: Sequence[Entry], folder: Path
) -> tuple[dict[str, LocalFile], tuple[str, ...]]:
    """Key → file, plain; and the digests of the files as they are stored."""
    paths = _local(store, entries, folder)
    digests = tuple(sha256_of(path) for path in paths.values())
    names = {key: key.removeprefix("data/") for key in paths}
    files = {key: _plain(LocalFile(names[key], path), folder) for key, path in paths.items()}
    return files, digests


def look(
    uri: str,
    order: RunOrder,
    param: str = "dataset.uri",
    revision: str | None = None,
    wanted: Collection[str] | None = None,
) -> dict[str, str] | None:
    """What tells whether the files of `fetch` are the same as before, without reading them: of each
    its size and ETag, or the time of its last change. None: nothing does.

    Raises TrainerError.
    """
    base, name = last_part(uri)
    if _is_pattern(uri):
        store = open_source(base, "datasets", order, param, revision)
        return _validators(_matching(store, name))
    if data_suffix(name):
        return _of_one(open_source(base, "datasets", order, param, revision), name, uri)
    found, entries = _find(open_source(uri, "datasets", order, param, revision), param, wanted)
    used = {split: keys for split, keys in found.items() if wanted is None or split in wanted}
    return _validators(entries[key] for key in sorted(set(chain(*used.values()))))


def _find(
    store: ReadableStore, param: str, wanted: Collection[str] | None
) -> tuple[dict[str, list[str]], dict[str, Entry]]:
    """The files of a folder by split, and all of its data files. Texts are its data where there
    is no table: else they are about it. Raises TrainerError."""
    stored = {entry.key: entry for entry in store.entries()}
    entries = {key: entry for key, entry in stored.items() if is_data(key)}
    tables = [key for key in entries if is_table(key)]
    found = find_splits(tables, wanted or ()) if tables else find_texts(entries, wanted or ())
    if not found:
        raise _no_data(store.uri, entries, sorted(stored), param)
    return found, entries


def _of_one(store: ReadableStore, name: str, uri: str) -> dict[str, str] | None:
    """Of a single file. That it can't be told, or isn't there, is said by who reads it."""
    try:
        entry = store.entry(name)
        if entry is not None and isinstance(store, FileStore) and uri.startswith("configmap://"):
            # The kubelet writes a pod's copy anew; it is small.
            entry = replace(entry, etag=sha256_of(store.local(name)))
    except TrainerError:
        return None
    return _validators([entry]) if entry is not None else None


def _validators(entries: Iterable[Entry]) -> dict[str, str]:
    return {entry.key: f"{entry.size} {entry.etag}" for entry in entries}


def _fetch_one(store: ReadableStore, uri: str, name: str, folder: Path, param: str) -> Path:
    try:
        if isinstance(store, FileStore):
            return store.local(name)
        path = below(folder, name, param)
        log(f"data: downloading {uri}")
        store.download(name, path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "DatasetNotFound",
            f"{uri}: no such file; upload it, or correct the URI",
            param,
        ) from None
    return path


def _no_data(uri: str, keys: Iterable[str], stored: Sequence[str], param: str) -> TrainerError:
    folders = sorted({key.rpartition("/")[0] for key in keys if "/" in key})
    if folders:
        remedy = f"there are some in {', '.join(folders[:10])}: name that folder"
    elif stored:
        more = " …" if len(stored) > _NAMED else ""
        remedy = (
            f"there is {', '.join(stored[:_NAMED])}{more}: convert it to one of these, a file per "
            "split (train.jsonl, test.jsonl)"
        )
    else:
        remedy = "upload one per split (train.jsonl, test.jsonl), or correct the URI"
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
    paths = {entry.key: below(folder, entry.key, "dataset.uri") for entry in entries}
    size = sum(entry.size for entry in entries)
    log(f"data: downloading {len(entries)} files, {size / 1e6:.1f} MB, of {store.uri}")
    run_all(partial(store.download, key, path) for key, path in paths.items())
    return paths


def _plain(file: LocalFile, folder: Path) -> LocalFile:
    """The file itself, or its unpacked copy. Raises TrainerError: it isn't what its name says."""
    file = unpacked(file, folder)
    check_content(file)
    return file
