"""Rows of a dataset's files: .jsonl, .json (one array), .csv.

Every error names file and line.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from luthier_trainer.errors import data_error

FORMATS = (".jsonl", ".json", ".csv")


@dataclass(frozen=True)
class Row:
    """A row's values as text, and where it stands, e.g. "train.jsonl:17"."""

    values: dict[str, str]
    place: str


def read_rows(name: str, content: bytes) -> list[Row]:
    """Rows of a file with one of FORMATS. Raises TrainerError (MalformedRow)."""
    text = _decode(name, content)
    match PurePosixPath(name).suffix:
        case ".jsonl":
            return _jsonl(name, text)
        case ".json":
            return _json(name, text)
        case _:
            return _csv(name, text)


def _jsonl(name: str, text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise _malformed(place, f"not JSON: {error.msg} at column {error.colno}") from error
        rows.append(Row(_values(value, place), place))
    return rows


def _json(name: str, text: str) -> list[Row]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise _malformed(
            f"{name}:{error.lineno}", f"not JSON: {error.msg} at column {error.colno}"
        ) from error
    if not isinstance(items, list):
        raise _malformed(f"{name}:1", "a .json file holds one array of objects")
    return [
        Row(_values(item, place), place)
        for item, place in ((item, f"{name}#{i}") for i, item in enumerate(items, start=1))
    ]


def _csv(name: str, text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        header = next(reader, None)
        if header is None:
            return []
        for cells in reader:
            place = f"{name}:{reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raise _malformed(place, f"{len(cells)} cells, but the header has {len(header)}")
            rows.append(Row(dict(zip(header, cells, strict=True)), place))
    except csv.Error as error:
        raise _malformed(f"{name}:{reader.line_num}", f"not CSV: {error}") from error
    return rows


def _values(value: Any, place: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _malformed(place, f"an object was expected, found {type(value).__name__}")
    return {key: _text(item) for key, item in value.items() if item is not None}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _decode(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _malformed(f"{name}:{line}", "not UTF-8; save the file as UTF-8") from error


def _malformed(place: str, problem: str) -> Exception:
    return data_error("MalformedRow", f"{place}: {problem}; correct or remove the row")
