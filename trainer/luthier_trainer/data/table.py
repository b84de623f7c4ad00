"""All rows of a dataset under one numbering: small data in memory, large data on disk.

Large files stay JSON lines on disk, and a row is parsed when it is asked for: an index of byte
offsets costs 16 bytes a row. Other formats are first written as JSON lines to scratch.
See docs/adr/0008-rows-on-disk.md.
"""

import json
import os
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from luthier_trainer.data.row import UNPACKED_BYTES, WHOLE_TEXTS, LocalFile, Row
from luthier_trainer.data.rows import json_lines, json_row, read_rows
from luthier_trainer.data.texts import TextRows
from luthier_trainer.storage.keys import below

# Bytes of all values up to which rows are kept as Python objects (some 5 times as large).
IN_MEMORY_BYTES = UNPACKED_BYTES


class Rows(Protocol):
    """Rows of one file, by their number from 0."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


class DiskRows:
    """Rows of one file of JSON lines, parsed when they are asked for. Threads may share it.

    Read with pread, not mapped: mapped pages would count as memory of the process.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        offsets: Sequence[int],
        lengths: Sequence[int],
        numbers: Sequence[int],
    ) -> None:
        self._name = name
        self._offsets, self._lengths, self._numbers = offsets, lengths, numbers
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Row:
        line = os.pread(self._descriptor, self._lengths[index], self._offsets[index])
        return json_row(line, self._name, self._numbers[index])


class SpooledRows:
    """As DiskRows, for rows whose place isn't a line of the spooled file."""

    def __init__(self, rows: DiskRows, places: "Places") -> None:
        self._rows = rows
        self._places = places

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]._replace(place=self._places[index])


class Places:
    """Places such as "train.csv:17", kept as numbers."""

    def __init__(self) -> None:
        self._prefix = ""
        self._numbers = array("I")

    def append(self, place: str) -> None:
        cut = max(place.rfind(":"), place.rfind("#")) + 1
        self._prefix = place[:cut]
        self._numbers.append(int(place[cut:]))

    def __getitem__(self, index: int) -> str:
        return f"{self._prefix}{self._numbers[index]}"


class Table:
    """Rows of all splits, one after the other. `splits`: name → their numbers."""

    def __init__(self, in_memory: bool) -> None:
        self.in_memory = in_memory
        self.splits: dict[str, range] = {}
        self._parts: list[Rows] = []
        self._starts: list[int] = []
        self._length = 0

    def add(self, split: str, parts: Sequence[Rows]) -> None:
        begin = self._length
        for part in parts:
            self._parts.append(part)
            self._starts.append(self._length)
            self._length += len(part)
        self.splits[split] = range(begin, self._length)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        part = bisect_right(self._starts, index) - 1
        return self._parts[part][index - self._starts[part]]


def open_split(
    files: Sequence[LocalFile],
    columns: Callable[[LocalFile], Collection[str]],
    in_memory: bool,
    scratch: Path,
) -> list[Rows]:
    """Rows of the files of a split; `columns`: those that are read of each. Raises TrainerError,
    as open_rows."""
    if files and files[0].suffix in WHOLE_TEXTS and not in_memory:
        return [TextRows(files)]
    return [open_rows(file, columns(file), in_memory, scratch) for file in files]


def open_rows(file: LocalFile, columns: Collection[str], in_memory: bool, scratch: Path) -> Rows:
    """Rows of one file. Raises TrainerError (MalformedRow): in memory at once, else later."""
    if in_memory:
        return list(read_rows(file, columns))
    if file.suffix == ".jsonl":
        return _indexed(file.name, file.path)
    return _spooled(file, columns, scratch)


def _indexed(name: str, path: Path) -> Rows:
    offsets, lengths, numbers = array("Q"), array("I"), array("I")
    for number, offset, line in json_lines(path, name):
        numbers.append(number)
        offsets.append(offset)
        lengths.append(len(line))
    return DiskRows(name, path, offsets, lengths, numbers) if offsets else []


def _spooled(file: LocalFile, columns: Collection[str], scratch: Path) -> Rows:
    path = below(scratch, f"{file.name}.rows.jsonl", "dataset.uri")
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets, lengths, places = array("Q"), array("I"), Places()
    position = 0
    with path.open("wb") as spool:
        for row in read_rows(file, columns):
            values = {**row.values, **dict.fromkeys(row.nulls)} if row.nulls else row.values
            try:
                line = json.dumps(values, ensure_ascii=False).encode()
            except UnicodeEncodeError:  # half a character: refused when the row is read
                line = json.dumps(values).encode()
            offsets.append(position)
            places.append(row.place)
            lengths.append(len(line))
            position += spool.write(line + b"\n")
    if not offsets:
        return []
    numbers: Any = range(1, len(offsets) + 1)
    return SpooledRows(DiskRows(file.name, path, offsets, lengths, numbers), places)
