"""Rows of .csv and .tsv files, as spreadsheets, databases and pandas write them."""

import csv
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TextIO

from luthier_trainer.data.row import (
    MAX_ROW_BYTES,
    LocalFile,
    Row,
    malformed,
    row_too_large,
    shown,
)
from luthier_trainer.data.textfile import not_utf8
from luthier_trainer.errors import TrainerError

_SEPARATORS = (",", ";", "\t", "|")
_OF_TSV = ("\t", ",", ";", "|")


def read_csv(file: LocalFile, columns: Collection[str]) -> Iterator[Row]:
    """Rows, each at the line where it begins. What separates the cells is told by the header: it
    has the `columns` that are needed. Raises TrainerError (MalformedRow, RowTooLarge)."""
    csv.field_size_limit(sys.maxsize)  # _Lines has a limit of its own
    separator = _separator(file, columns)
    try:
        with file.path.open(encoding="utf-8-sig", newline="") as text:
            lines = _Lines(file.name, text)
            records = _records(lines, separator)
            header = next(records, None)
            if header is None:
                return
            names = _names(file.name, header, columns)
            for cells in records:
                if len(cells) != len(header):
                    cell = "cell" if len(cells) == 1 else "cells"
                    problem = f"{len(cells)} {cell}, but the header has {len(header)}"
                    raise malformed(lines.place, problem)
                yield Row({name: cells[at] for name, at in names.items()}, lines.place)
    except UnicodeDecodeError as error:
        raise not_utf8(file) from error


class _Lines:
    """The lines of a file, those of one row in memory."""

    def __init__(self, name: str, text: TextIO) -> None:
        self._name, self._text = name, text
        self._first, self._size = 1, 0
        self.row: list[str] = []

    @property
    def place(self) -> str:
        """Where the row begins."""
        return self.at(0)

    def at(self, line: int) -> str:
        """Where a line of the row is, the first being 0."""
        return f"{self._name}:{self._first + line}"

    def begin_row(self) -> None:
        self._first += len(self.row)
        self._size = 0
        self.row.clear()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        self._size += len(line)
        self.row.append(line)
        if self._size > MAX_ROW_BYTES:
            raise row_too_large(self.place)
        if "\0" in line:
            raise malformed(
                self.at(len(self.row) - 1),
                "a NUL, which text doesn't have",
                "save the file as UTF-8, or remove it",
            )
        return line


def _records(lines: _Lines, separator: str) -> Iterator[list[str]]:
    """Cells of each row that isn't blank."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _misquoted(lines, separator) from error
        if cells:
            yield cells


def _misquoted(lines: _Lines, separator: str) -> TrainerError:
    """What is wrong with the quotes of the row that is being read, at the line that opened them:
    that they don't close is noticed many lines later."""
    opened, closed = _last_quote(lines.row, separator)
    if closed is None:
        return malformed(
            lines.at(opened),
            "not CSV: a quote opens on this line and never closes",
            'close it, or write a quote that belongs to the text as "" within quotes',
        )
    where = "" if closed == opened else f" on line {lines.at(closed).rpartition(':')[2]}"
    return malformed(
        lines.at(opened),
        f"not CSV: a quote opens on this line, and behind the next one{where} the cell goes on",
        'write a quote that belongs to the text as ""',
    )


def _last_quote(row: Sequence[str], separator: str) -> tuple[int, int | None]:
    """Lines, from 0, where the last quote opens and where it closes."""
    opened, closed = 0, None
    begins, quoted = True, False
    for number, line in enumerate(row):
        for character in line:
            if quoted:
                if character == '"':
                    quoted, closed = False, number
            elif character == '"' and (begins or closed is not None):
                if begins:
                    opened = number
                quoted, closed = True, None
            elif character in (separator, "\r", "\n"):
                closed = None
            elif closed is not None:  # only a separator may follow
                return opened, closed
            begins = not quoted and character in (separator, "\r", "\n")
    return opened, closed


def _separator(file: LocalFile, columns: Collection[str]) -> str:
    """The one by which the header has the columns; else the first that is there."""
    separators = _OF_TSV if file.suffix == ".tsv" else _SEPARATORS
    headers = {separator: _header(file, separator) for separator in separators}
    for separator, header in headers.items():
        if columns and set(columns) <= set(header):
            return separator
    return next((one for one, header in headers.items() if len(header) > 1), separators[0])


def _header(file: LocalFile, separator: str) -> list[str]:
    """The header's cells, [] where it can't be read so."""
    with file.path.open(encoding="utf-8-sig", newline="", errors="replace") as text:
        try:
            reader = csv.reader(_Lines(file.name, text), delimiter=separator, strict=True)
            return [cell.strip() for cell in next(filter(None, reader), [])]
        except (csv.Error, TrainerError):
            return []


def _names(name: str, header: Sequence[str], columns: Collection[str]) -> dict[str, int]:
    """Column → its position. A column without a name, such as that of pandas's index, is none."""
    cells = [cell.strip() for cell in header]
    counts = Counter(filter(None, cells))
    for column, count in counts.items():
        if count > 1:
            # The header may be missing, and the first line be data: only what the spec names is
            # certain to be a name.
            what = f"the column {shown(column)}" if column in columns else "a column"
            places = [str(at) for at, cell in enumerate(cells, start=1) if cell == column]
            raise malformed(
                f"{name}:1",
                f"the header has {what} twice (cells {', '.join(places[:5])})",
                "rename or remove one of them; where the first line is data, put a header above",
            )
    if not counts:
        raise malformed(f"{name}:1", "the header names no column", "put one above the rows")
    return {cell: at for at, cell in enumerate(cells) if cell}
