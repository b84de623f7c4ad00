"""Rows of a dataset's files: .jsonl, .json (one array, or lines), .csv, .tsv, .parquet; .txt, .md.

Values keep their types until a form of examples needs text. Every error names file and line.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from luthier_trainer.data.csvrows import read_csv
from luthier_trainer.data.jsonarray import (
    ArrayError,
    DoubledKeyError,
    ItemTooLargeError,
    array_items,
    decoder,
)
from luthier_trainer.data.row import (
    MAX_ROW_BYTES,
    LocalFile,
    Row,
    doubled_key,
    malformed,
    row_of,
    row_too_large,
)
from luthier_trainer.data.textfile import BOM, TO_UTF8, not_utf8
from luthier_trainer.data.texts import text_row
from luthier_trainer.errors import TrainerError

__all__ = ["LocalFile", "Row", "json_lines", "json_row", "malformed", "read_rows"]

_SMALL = 1024
_PRINTED = "it is as Python's str() prints it: write each row with json.dumps"


def read_rows(file: LocalFile, columns: Collection[str] | None = None) -> Iterator[Row]:
    """Rows in order. Of .parquet only `columns` are read. Raises TrainerError (MalformedRow)."""
    match file.suffix:
        case ".jsonl":
            yield from _jsonl(file)
        case ".json":
            yield from _json(file)
        case ".csv" | ".tsv":
            yield from read_csv(file, columns or ())
        case ".txt" | ".md":
            yield text_row(file)
        case _:
            from luthier_trainer.data.parquet import read_parquet

            yield from read_parquet(file, columns)


def json_row(line: bytes, name: str, number: int) -> Row:
    """A line of a .jsonl file."""
    place = f"{name}:{number}"
    try:
        text = line.decode()
        value = decoder.decode(text)
    except UnicodeDecodeError as error:
        raise malformed(place, "not UTF-8", TO_UTF8) from error
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at column {error.colno}"
        raise malformed(place, problem, *_remedy(name, text, error)) from error
    except (DoubledKeyError, RecursionError, ValueError) as error:
        raise _not_read(place, error) from error
    if isinstance(value, list) and value and isinstance(value[0], dict):
        raise malformed(place, "an array of objects, not one object", _rename(name))
    return row_of(value, place)


def json_lines(path: Path, name: str) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, offset, line) of the lines that aren't blank. Raises TrainerError
    (RowTooLarge)."""
    offset = number = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES:
                raise row_too_large(f"{name}:{number}")
            start = len(BOM) if number == 1 and line.startswith(BOM) else 0
            if line[start:].strip():
                yield number, offset + start, line[start:]
            offset += len(line)


def _remedy(name: str, text: str, error: json.JSONDecodeError) -> tuple[str, ...]:
    """What helps where a line is no JSON, if it is something else than to correct it."""
    if text.startswith("'", error.pos):
        return (_PRINTED,)
    several = error.msg == "Extra data" and text.startswith("{", error.pos)
    if several or text.lstrip().startswith("["):
        return (_rename(name),)
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return (
            "each row of .jsonl is one line: if its objects go over several lines, "
            f"{_rename(name)}; if the file was cut short, upload it again",
        )
    return ()


def _rename(name: str) -> str:
    """As .json, which holds one array, or objects over any lines."""
    renamed = re.sub(r"(?i)\.jsonl", ".json", PurePosixPath(name).name)
    return f"rename the file to {renamed}, which is read so"


def _jsonl(file: LocalFile) -> Iterator[Row]:
    for number, _, line in json_lines(file.path, file.name):
        yield json_row(line, file.name, number)


def _json(file: LocalFile) -> Iterator[Row]:
    name, count = file.name, 0
    if _is_blank(file.path):
        return
    try:
        with file.path.open(encoding="utf-8-sig") as stream:
            for count, item in enumerate(array_items(stream), start=1):
                yield row_of(item, f"{name}#{count}")
    except ItemTooLargeError as error:
        raise row_too_large(f"{name}#{count + 1}") from error
    except ArrayError as error:
        after = f", after row {count}" if count else ""
        problem = f"not JSON: {error.problem} at column {error.column}{after}"
        remedy = (_PRINTED,) if error.found == "'" else ()
        raise malformed(f"{name}:{error.line}", problem, *remedy) from error
    except UnicodeDecodeError as error:
        raise not_utf8(file) from error
    except (DoubledKeyError, RecursionError, ValueError) as error:
        raise _not_read(f"{name}#{count + 1}", error) from error


def _is_blank(path: Path) -> bool:
    return path.stat().st_size < _SMALL and not path.read_bytes().removeprefix(BOM).strip()


def _not_read(place: str, error: Exception) -> TrainerError:
    """JSON that Python won't read, or not unambiguously."""
    match error:
        case DoubledKeyError(key=key):
            return doubled_key(place, key)
        case RecursionError():
            return malformed(place, "not read: it is nested too deeply")
        case _:
            return malformed(place, "not read: it has a number of more than 4,300 digits")
