"""Rows of a dataset's files: .jsonl, .json (one array, or lines), .csv, .parquet.

Values keep their types until a form of examples needs text. Every error names file and line.
"""

import csv
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from luthier_trainer.data.jsonarray import ArrayError, array_items, decoder
from luthier_trainer.errors import TrainerError, data_error

FORMATS = (".jsonl", ".json", ".csv", ".parquet")
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A row's values, without nulls and NaN, and where it stands, e.g. "train.jsonl:17"."""

    values: dict[str, Any]
    place: str


@dataclass(frozen=True)
class LocalFile:
    """A file of a dataset on this disk, plain: `name` is what the user calls it."""

    name: str
    path: Path

    @property
    def suffix(self) -> str:
        return data_suffix(self.name)


def data_suffix(name: str) -> str:
    """The format's suffix, e.g. ".csv" of x.csv.gz; "" for what isn't read."""
    path = PurePosixPath(name.lower())
    if path.suffix in (".gz", ".zst"):
        path = path.with_suffix("")
        return path.suffix if path.suffix in FORMATS[:3] else ""
    return path.suffix if path.suffix in FORMATS else ""


def read_rows(file: LocalFile, columns: Collection[str] | None = None) -> Iterator[Row]:
    """Rows in order. Of .parquet only `columns` are read. Raises TrainerError (MalformedRow)."""
    match file.suffix:
        case ".jsonl":
            yield from _jsonl(file)
        case ".json":
            yield from _json(file)
        case ".csv":
            yield from _csv(file)
        case _:
            from luthier_trainer.data.parquet import read_parquet

            yield from read_parquet(file, columns)


def json_row(line: bytes, name: str, number: int) -> Row:
    """A line of a .jsonl file."""
    place = f"{name}:{number}"
    try:
        value = decoder.decode(line.decode())
    except UnicodeDecodeError as error:
        raise malformed(place, "not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise malformed(place, f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise malformed(place, "not read: it is nested too deeply") from error
    return Row(present(value, place), place)


def json_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, offset, line) of the lines that aren't blank."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            start = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
            if line[start:].strip():
                yield number, offset + start, line[start:]
            offset += len(line)


def _jsonl(file: LocalFile) -> Iterator[Row]:
    for number, _, line in json_lines(file.path):
        yield json_row(line, file.name, number)


def _json(file: LocalFile) -> Iterator[Row]:
    name, count = file.name, 0
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            for count, item in enumerate(array_items(stream), start=1):
                place = f"{name}#{count}"
                yield Row(present(item, place), place)
    except ArrayError as error:
        after = f", after row {count}" if count else ""
        problem = f"not JSON: {error.problem} at column {error.column}{after}"
        raise malformed(f"{name}:{error.line}", problem) from error
    except RecursionError as error:
        raise malformed(f"{name}#{count + 1}", "not read: it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(file) from error


def _csv(file: LocalFile) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    name = file.name
    with file.path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return
            doubled = [column for column in header if header.count(column) > 1]
            if doubled:
                raise malformed(f"{name}:1", f"the header has {doubled[0]!r} twice")
            for cells in reader:
                place = f"{name}:{reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise malformed(place, f"{len(cells)} cells, but the header has {len(header)}")
                yield Row(dict(zip(header, cells, strict=True)), place)
        except csv.Error as error:
            raise malformed(f"{name}:{reader.line_num}", f"not CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise _not_utf8(file) from error


def present(value: Any, place: str) -> dict[str, Any]:
    """The columns of a row that aren't null."""
    if not isinstance(value, dict):
        raise malformed(place, f"an object was expected, found {type(value).__name__}")
    if None in value.values():
        return {key: item for key, item in value.items() if item is not None}
    return value


def malformed(place: str, problem: str) -> TrainerError:
    return data_error("MalformedRow", f"{place}: {problem}; correct or remove the row")


def _not_utf8(file: LocalFile) -> TrainerError:
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):  # noqa: B007 - used after
            try:
                line.decode()
            except UnicodeDecodeError:
                break
    return malformed(f"{file.name}:{number}", "not UTF-8; save the file as UTF-8")
