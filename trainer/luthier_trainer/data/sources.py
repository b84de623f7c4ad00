"""The files of a dataset, made local: one file, or a folder with those of each split."""

import gzip
import hashlib
import re
import shutil
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer.data.rows import FORMATS, LocalFile, data_suffix, malformed
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError, data_error, is_disk_full
from luthier_trainer.log import log
from luthier_trainer.parallel import run_all
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import Entry, ReadableStore
from luthier_trainer.storage.source import open_source

# A file of several of one split, as hubs name them: train-00000-of-00002.parquet
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")


@dataclass(frozen=True)
class Source:
    """Local files by split, each split's in order; `digests` are of the files as stored."""

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
    uri: str, spec: RunSpec, folder: Path, param: str = "dataset.uri", revision: str | None = None
) -> Source:
    """The dataset's files, those that aren't local downloaded to `folder`.

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
    names = _data_files(store, param)
    groups = _by_split(store.uri, list(names), param)
    paths = _local(store, names, folder)
    digests = tuple(sha256_of(path) for path in paths.values())
    files = {name: _plain(LocalFile(name, path), folder) for name, path in paths.items()}
    split_files = {split: [files[name] for name in group] for split, group in groups.items()}
    return Source(uri, split_files, digests, param)


def split_of(name: str) -> str:
    """The split that a file belongs to: train of train-00000-of-00002.parquet."""
    stem = PurePosixPath(name).name.split(data_suffix(name))[0] if data_suffix(name) else name
    shard = _SHARD.fullmatch(stem)
    return shard.group(1) if shard else stem


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


def _data_files(store: ReadableStore, param: str) -> dict[str, Entry]:
    """Name → object. Where a folder holds none, but its folder data/ does, as on hubs: those."""
    found = [entry for entry in store.entries() if data_suffix(entry.key)]
    for base in ("", "data/"):
        names = {
            entry.key[len(base) :]: entry
            for entry in found
            if entry.key.startswith(base) and "/" not in entry.key[len(base) :]
        }
        if names:
            return names
    folders = sorted({entry.key.rpartition("/")[0] for entry in found})
    remedy = (
        f"there are some in {', '.join(folders[:10])}: name that folder"
        if folders
        else "upload one per split (train.jsonl, test.jsonl), or correct the URI"
    )
    raise TrainerError(
        ExitCode.NOT_FOUND,
        "DatasetNotFound",
        f"{store.uri}: no file {', '.join(f'*{suffix}' for suffix in FORMATS)} there; {remedy}",
        param,
    )


def _by_split(uri: str, names: list[str], param: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[split_of(name)].append(name)
    for split, members in groups.items():
        shards = [_SHARD.match(name) for name in members]
        totals = {shard.group(3) if shard else None for shard in shards}
        if len(members) > 1 and (None in totals or len(totals) > 1):
            raise data_error(
                "AmbiguousSplit",
                f"{uri}: several files for the split {split!r} ({', '.join(members[:5])}); keep "
                "one per split, or name them NAME-00000-of-00002 and so on",
                param,
            )
        total = totals.pop()
        if total is not None:
            there = sorted(int(shard.group(2)) for shard in shards if shard)
            if there != list(range(int(total))):
                raise data_error(
                    "MissingShard",
                    f"{uri}: the split {split!r} has {len(there)} of {int(total)} files; upload "
                    "all of them",
                    param,
                )
    return dict(groups)


def _local(store: ReadableStore, names: dict[str, Entry], folder: Path) -> dict[str, Path]:
    if isinstance(store, FileStore):
        return {name: store.local(entry.key) for name, entry in names.items()}
    paths = {name: folder / name for name in names}
    size = sum(entry.size for entry in names.values())
    log(f"data: downloading {len(names)} files, {size / 1e6:.1f} MB, of {store.uri}")
    run_all(partial(store.download, entry.key, paths[name]) for name, entry in names.items())
    return paths


def _plain(file: LocalFile, folder: Path) -> LocalFile:
    """The file itself, or its unpacked copy."""
    ending = PurePosixPath(file.name.lower()).suffix
    if ending not in (".gz", ".zst"):
        return file
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file.name}.plain"
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
