"""Encoded examples in a folder: their numbers on disk, and in memory where they are and what is
counted of them.

numbers.i32     the numbers of each item (StorableItem), one after the other
ends.i64        where each item ends among them
counts.i32      what is counted of each: COUNTS
manifest.json   bytes and sha256 of these; written last

Rows are read with pread, not mapped: mapped pages would count as memory of the process, and where
a disk fails or another machine removes the file, a page that isn't there ends the process without
a word, while a read raises an error.
"""

import fcntl
import hashlib
import json
import os
import stat
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.documents import parse
from luthier_trainer.objectives.objective import StorableItem

FORMAT = 1
MANIFEST = "manifest.json"
_NUMBERS, _ENDS, _COUNTS = "numbers.i32", "ends.i64", "counts.i32"
# `learnt`: tokens that the loss counts; -1 where it counts no tokens.
COUNTS = np.dtype([(name, "<i4") for name in ("length", "cut", "learnt", "turns_cut", "continues")])
_BLOCK = 1 << 20
_WIDTH = 4  # bytes of a number

# The item of its numbers.
Read = Callable[["array[int]"], Any]
Count = Callable[[Any], tuple[int, ...]]


class DamagedError(ValueError):
    """A store isn't what its manifest says, or isn't there. The text says why."""


class StoredItems(Sequence[Any]):
    """The items of a store, read whenever they are asked for. Threads and processes that are
    forked may share it; one that is pickled opens the store anew."""

    def __init__(self, folder: Path, read: Read, *, verify: bool = True) -> None:
        """`verify`: compare digests, which reads the store once. Raises DamagedError."""
        self.folder = folder
        self._read = read
        # Held open: who makes room in a cache sees the lock, and what is deleted stays readable.
        self._manifest = _hold(folder / MANIFEST)
        weakref.finalize(self, os.close, self._manifest)
        files = _files(self._manifest)
        self._numbers = _hold(folder / _NUMBERS)
        weakref.finalize(self, os.close, self._numbers)
        _check(self._numbers, files[_NUMBERS], verify)
        ends = _content(folder / _ENDS, files[_ENDS])
        counts = _content(folder / _COUNTS, files[_COUNTS])
        if len(ends) % 8 or len(ends) // 8 * COUNTS.itemsize != len(counts):
            raise DamagedError("its parts are of different lengths")
        self._ends = np.frombuffer(ends, "<i8")
        self.counts: NDArray[np.void] = np.frombuffer(counts, COUNTS)
        self.lengths = array("i", np.ascontiguousarray(self.counts["length"]).tobytes())

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        begin, end = int(self._ends[at - 1]) if at else 0, int(self._ends[at])
        wanted = _WIDTH * (end - begin)
        data = os.pread(self._numbers, wanted, _WIDTH * begin)
        if len(data) != wanted:
            raise OSError(f"{self.folder}/{_NUMBERS} has become shorter: start the run again")
        return self._read(array("i", data))

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.folder, self._read)


def _again(folder: Path, read: Read) -> StoredItems:
    return StoredItems(folder, read, verify=False)


def write(folder: Path, batches: Iterable[Sequence[StorableItem]], count: Count) -> None:
    """Fill an empty folder. Raises OSError, and what the batches do."""
    ends, counts = array("q"), array("i")
    total = 0
    digest = hashlib.sha256()
    with (folder / _NUMBERS).open("xb") as file:
        for items in batches:
            numbers = array("i")
            for item in items:
                numbers += item.numbers
                ends.append(total + len(numbers))
                counts.extend(count(item))
            total += len(numbers)
            data = memoryview(numbers).cast("B") if numbers else b""
            digest.update(data)
            file.write(data)
    files = {_NUMBERS: {"bytes": _WIDTH * total, "sha256": digest.hexdigest()}}
    for name, values in ((_ENDS, ends), (_COUNTS, counts)):
        (folder / name).write_bytes(values)
        files[name] = {
            "bytes": values.itemsize * len(values),
            "sha256": hashlib.sha256(values).hexdigest(),
        }
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=2))


def _hold(path: Path) -> int:
    """A regular file, open and locked against those who would delete it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DamagedError(f"{path.name} can't be opened: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DamagedError(f"{path.name} is no file")
        with suppress(OSError):  # of a disk that knows no locks
            _share(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _share(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DamagedError(f"{path.name} is being deleted") from error


def _files(manifest: int) -> dict[str, tuple[int, str]]:
    """Name → bytes and sha256. Raises DamagedError."""
    try:
        document = parse(os.pread(manifest, _BLOCK, 0))
        files = document["files"]
        known = {name: (int(files[name]["bytes"]), str(files[name]["sha256"])) for name in files}
        if document["format"] != FORMAT or known.keys() != {_NUMBERS, _ENDS, _COUNTS}:
            raise DamagedError("its manifest is of another format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"its manifest can't be read: {error}") from error
    return known


def _check(descriptor: int, wanted: tuple[int, str], verify: bool) -> None:
    size, sha256 = wanted
    if os.fstat(descriptor).st_size != size:
        raise DamagedError("a file has another size than its manifest says")
    if not verify:
        return
    digest, at = hashlib.sha256(), 0
    while block := os.pread(descriptor, _BLOCK, at):
        digest.update(block)
        at += len(block)
    if digest.hexdigest() != sha256:
        raise DamagedError("a file has another digest than its manifest says")


def _content(path: Path, wanted: tuple[int, str]) -> bytes:
    with os.fdopen(_hold(path), "rb") as file:
        _check(file.fileno(), wanted, verify=True)
        return file.read()
