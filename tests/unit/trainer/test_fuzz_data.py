"""Files of any content: what was written is read the same, and what can't be read ends in an error
of ours, never in another."""

import csv
import gzip
import io
import json
import math
import re
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from unit.trainer.data_support import bare_preparer, outcome, parquet

from luthier_api.result import RunError
from luthier_trainer.data.content import check_content
from luthier_trainer.data.row import LocalFile, Row
from luthier_trainer.data.rows import read_rows
from luthier_trainer.data.table import open_rows
from luthier_trainer.data.unpack import unpacked

pytestmark = pytest.mark.usefixtures("nothing_hidden")

bounded = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Without halves of surrogate pairs, which no file in UTF-8 has.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8).filter(
    lambda name: name == name.strip()
)
json_rows = st.lists(st.dictionaries(texts, values, min_size=1, max_size=4), min_size=1, max_size=5)


def _table(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows that have the same columns."""
    columns = st.lists(names, min_size=2, max_size=4, unique=True)
    return columns.flatmap(
        lambda names: st.lists(
            st.fixed_dictionaries(dict.fromkeys(names, of)), min_size=1, max_size=5
        )
    )


def _read(name: str, content: bytes, columns: Sequence[str] = ("text", "label")) -> list[Row]:
    """As a run does, in memory and from disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        file = unpacked(LocalFile(name, path), Path(folder))
        check_content(file)
        rows = list(read_rows(file, columns))
        stored = open_rows(file, columns, False, Path(folder) / "spool")
        assert [_plain(stored[index]) for index in range(len(stored))] == [_plain(r) for r in rows]
    return rows


def _plain(row: Row) -> str:
    """To compare by: infinity and -0.0 are equal to themselves as text."""
    return json.dumps([row.values, row.place, sorted(row.nulls)])


def _as_read(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _lines(rows: list[dict[str, Any]], end: str, ascii_only: bool) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows).encode()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}


@bounded
@given(json_rows, st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans(), st.sampled_from([*PACK]))
def test_lines_are_read_as_they_were_written(
    rows: list[dict[str, Any]], end: str, ascii_only: bool, ending: str
) -> None:
    found = _read(f"a.jsonl{ending}", PACK[ending](_lines(rows, end, ascii_only)))
    step = len(end.replace("\r", ""))
    assert [(row.values, row.place) for row in found] == [
        (_as_read(row), f"a.jsonl{ending}:{1 + step * number}") for number, row in enumerate(rows)
    ]
    for row, written in zip(found, rows, strict=True):
        assert row.nulls == {key for key, value in written.items() if value is None}


@bounded
@given(json_rows, st.sampled_from([None, 0, 2]), st.booleans(), st.sampled_from([*PACK]))
def test_arrays_are_read_as_they_were_written(
    rows: list[dict[str, Any]], indent: int | None, bom: bool, ending: str
) -> None:
    content = b"\xef\xbb\xbf" * bom + json.dumps(rows, indent=indent).encode()
    found = _read(f"a.json{ending}", PACK[ending](content))
    assert [row.values for row in found] == [_as_read(row) for row in rows]


@bounded
@given(
    _table(cells),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_tables_are_read_as_they_were_written(
    rows: list[dict[str, str]], separator: str, end: str, quoting: Any, bom: bool
) -> None:
    # csv's writer leaves a lone \r without quotes where lines don't end so.
    plain = "\r" not in "".join(chain(*(row.values() for row in rows)))
    assume(plain or end == "\r\n" or quoting == csv.QUOTE_ALL)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [*rows[0]], delimiter=separator, lineterminator=end, quoting=quoting
    )
    writer.writeheader()
    writer.writerows(rows)
    content = b"\xef\xbb\xbf" * bom + text.getvalue().encode()
    found = _read("a.csv", content, [*rows[0]])
    assert [row.values for row in found] == rows
    lines = content.decode("utf-8-sig").splitlines(keepends=True)
    assert found[0].place == "a.csv:2"
    assert len(lines) >= len(rows) + 1


@bounded
@given(_table(cells | st.none()))
def test_parquet_is_read_as_it_was_written(rows: list[dict[str, str | None]]) -> None:
    found = _read("a.parquet", parquet(rows), [*rows[0]])
    assert [row.values for row in found] == [_as_read(row) for row in rows]
    assert [row.place for row in found] == [f"a.parquet#{i + 1}" for i in range(len(rows))]


@bounded
@given(st.lists(st.floats(width=32), min_size=1, max_size=5))
def test_floats_of_parquet_are_as_short_as_they_were_written(floats: list[float]) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": pa.array(floats, pa.float32())}), sink)
    for row, value in zip(
        _read("a.parquet", sink.getvalue().to_pybytes(), ["x"]), floats, strict=True
    ):
        if math.isnan(value):
            assert row.nulls == {"x"}
        else:
            assert np.float32(row.values["x"]) == np.float32(value)
            assert float(str(np.float32(value))) == row.values["x"]


_SEEDS = {
    "a.jsonl": b'{"text": "a \\u00e4", "label": "red"}\r\n{"text": [1.5, null], "label": true}\n',
    "a.json": b'[{"text": "a", "label": "red"},\n {"text": {"b": [1e3]}, "label": "green"}]',
    "a.csv": 'text,label\r\n"a ""b"", ä\n",red\n\nc,green\n'.encode(),
    "a.tsv": b"text\tlabel\na\tred\n",
    "a.jsonl.gz": gzip.compress(b'{"text": "a", "label": "red"}\n'),
    "a.csv.zst": zstandard.compress(b"text,label\na,red\nb,green\n"),
    "a.parquet": b"",
}
_PIECES = [b"", b'"', b'""', b"{", b"}", b"[", b"]", b",", b":", b";", b"\\", b"\\ud800", b"\n"]
_PIECES += [b"\r", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"1e999", b"9" * 5000, b"[" * 5000]
_edits = st.lists(
    st.tuples(
        st.integers(0, 200), st.integers(0, 30), st.sampled_from(_PIECES) | st.binary(max_size=8)
    ),
    min_size=1,
    max_size=4,
)


@settings(bounded, max_examples=150)
@given(st.sampled_from([*_SEEDS]), _edits)
def test_a_broken_file_ends_in_an_error_of_ours(
    name: str, edits: list[tuple[int, int, bytes]]
) -> None:
    content = _SEEDS[name] or parquet([{"text": "a", "label": "red"}, {"text": "b", "label": "x"}])
    for at, length, piece in edits:
        at %= len(content) + 1
        content = content[:at] + piece + content[at + length :]
    found = outcome(lambda: _read(name, content))
    if isinstance(found, RunError):
        assert found.code in ("MalformedRow", "DatasetTooLarge", "RowTooLarge")
        assert found.message.startswith(name)
    else:
        assert all(isinstance(row.values, dict) for row in found)


@settings(bounded, max_examples=60)
@given(st.sampled_from([*_SEEDS]), st.binary(max_size=200))
def test_any_bytes_end_in_an_error_of_ours_or_in_rows(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = outcome(lambda: bare_preparer(Path(folder))({name: content}))
    if isinstance(found, RunError):
        assert re.fullmatch("[A-Z][A-Za-z]+", found.code)
        assert ": :" not in found.message
