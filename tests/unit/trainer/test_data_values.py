"""The text of a value is the same in every format, and a value that lacks is told as what it is."""

import csv
import io
import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import Prepare, bare_preparer, jsonl, parquet

from luthier_trainer.data.rows import LocalFile, read_rows
from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return bare_preparer(tmp_path)


def _parquet(**columns: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _csv(value: Any) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["x", "label"], [value, "red"], [value, "green"]])
    return buffer.getvalue().encode()


ARROW: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "float32": lambda pa: (pa.array([0.1], pa.float32()), 0.1),
    "float32, small": lambda pa: (pa.array([1.5e-7], pa.float32()), 1.5e-07),
    "float32, large": lambda pa: (pa.array([3e38], pa.float32()), 3e38),
    "float16": lambda pa: (pa.array([0.1], pa.float16()), 0.1),
    "float64": lambda pa: (pa.array([0.1]), 0.1),
    "whole float": lambda pa: (pa.array([1.0], pa.float32()), 1.0),
    "float32 in lists": lambda pa: (pa.array([[0.1, None]], pa.list_(pa.float32())), [0.1, None]),
    "float32 in fixed lists": lambda pa: (
        pa.array([[0.1, 2]], pa.list_(pa.float32(), 2)),
        [0.1, 2.0],
    ),
    "float32 in objects": lambda pa: (
        pa.array([{"a": {"b": 0.3}}], pa.struct({"a": pa.struct({"b": pa.float32()})})),
        {"a": {"b": 0.3}},
    ),
    "dictionary of float32": lambda pa: (pa.array([0.1], pa.float32()).dictionary_encode(), 0.1),
    "dictionary of text": lambda pa: (pa.array(["red"]).dictionary_encode(), "red"),
    "large text": lambda pa: (pa.array(["ä"], pa.large_string()), "ä"),
    "text view": lambda pa: (pa.array(["ä"], pa.string_view()), "ä"),
    "truth": lambda pa: (pa.array([True]), True),
    "uint64": lambda pa: (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "int8": lambda pa: (pa.array([-1], pa.int8()), -1),
    "decimal": lambda pa: (pa.array([Decimal("0.10")]), "0.10"),
    "decimal, tiny": lambda pa: (pa.array([Decimal("1E-9")], pa.decimal128(12, 9)), "0.000000001"),
    "text as bytes": lambda pa: (pa.array(["größe".encode()]), "größe"),
    "day": lambda pa: (pa.array([date(2020, 1, 31)]), "2020-01-31"),
    "seconds": lambda pa: (
        pa.array([datetime(2020, 1, 2)], pa.timestamp("s")),
        "2020-01-02 00:00:00",
    ),
    "whole nanoseconds": lambda pa: (
        pa.array([datetime(2020, 1, 2, 3)], pa.timestamp("ns")),
        "2020-01-02 03:00:00",
    ),
    "nanoseconds": lambda pa: (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
    "zone": lambda pa: (
        pa.array([datetime(2020, 1, 2, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        "2020-01-02 00:00:00+00:00",
    ),
    "time": lambda pa: (pa.array([time(1, 2, 3)]), "01:02:03"),
    "duration": lambda pa: (pa.array([timedelta(seconds=90)], pa.duration("ns")), "0:01:30"),
    "map": lambda pa: (pa.array([[("a", 0.1)]], pa.map_(pa.string(), pa.float32())), {"a": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARROW)
def test_values_of_parquet_are_those_of_json(tmp_path: Path, kind: str) -> None:
    import pyarrow as pa

    array, expected = ARROW[kind](pa)
    (tmp_path / "a.parquet").write_bytes(_parquet(x=array))
    (row,) = read_rows(LocalFile("a.parquet", tmp_path / "a.parquet"), ["x"])
    assert row.values["x"] == expected
    assert type(row.values["x"]) is type(expected)
    assert json.loads(json.dumps(row.values["x"])) == expected


@pytest.mark.parametrize("value", [0.1, 1.0, 1e-07, 1e20, 123456789, -1, "0.10", 'ä\n"x", y'])
def test_a_value_reads_alike_in_each_format(tmp_path: Path, value: Any) -> None:
    """In the template as a label, too."""
    rows = [{"x": value, "label": "red"}, {"x": value, "label": "green"}]
    files = {
        "a.jsonl": jsonl(*rows),
        "b.json": json.dumps(rows).encode(),
        "c.csv": _csv(value),
        "d.parquet": parquet(rows),
    }
    for template in ("{label}: {x}", "{x} {label}"):
        texts = set()
        for name, content in files.items():
            prepare = bare_preparer(tmp_path)
            options = {"template": template, "task": "generation"}
            example = prepare({name: content}, **options).train[0]
            texts.add((example.prompt, example.completion, example.label))
        assert len(texts) == 1


def test_bytes_that_are_no_text_are_refused_where_they_are_needed(prepare: Prepare) -> None:
    content = _parquet(text=["a", "b"], label=["red", "green"], raw=[b"x", b"\xff\xfe"])
    assert len(prepare({"a.parquet": content}).train) == 2
    with pytest.raises(TrainerError, match=r"a\.parquet#2: 'raw' holds bytes that are no text"):
        prepare({"a.parquet": content}, template="{raw} {label}")
    with pytest.raises(TrainerError, match="no column 'txt'; its columns are: text, label, raw"):
        prepare({"a.parquet": content}, template="{txt} {label}")


def test_the_row_that_cannot_be_read_is_named(prepare: Prepare) -> None:
    import pyarrow as pa

    text = pa.array([b"a", b"b", b"\xff"]).view(pa.string())
    content = _parquet(text=text, label=["red", "green", "red"])
    with pytest.raises(TrainerError, match=r"a\.parquet#3: not read: text that is not utf-8"):
        prepare({"a.parquet": content})


NULLS = {
    "a.jsonl": (b'{"text": "x", "label": "red"}\n{"text": null, "label": "green"}\n', "a.jsonl:2"),
    "a.json": (b'[{"text": "x", "label": "red"}, {"text": NaN, "label": "green"}]', "a.json#2"),
    "a.parquet": (b"", "a.parquet#2"),
}


@pytest.mark.parametrize("in_memory_bytes", [0, 10**6])
@pytest.mark.parametrize("name", NULLS)
def test_null_is_told_as_null(prepare: Prepare, name: str, in_memory_bytes: int) -> None:
    content, place = NULLS[name]
    content = content or parquet([{"text": "x", "label": "red"}, {"text": None, "label": "green"}])
    for options, words in (
        ({}, 'write "" where a row has none'),
        ({"template": "{label} {text}", "task": "generation"}, "fill it in or remove the row"),
        ({"columns": {"text": "text", "label": "label"}}, "fill it in"),
        (
            {"columns": {"prompt": "text", "completion": "label"}, "task": "generation"},
            'write ""',
        ),
    ):
        with pytest.raises(TrainerError) as caught:
            prepare({name: content}, in_memory_bytes=in_memory_bytes, **options)
        assert caught.value.error.code == "MissingColumn"
        assert caught.value.error.message.startswith(f"{place}: 'text' is null (or NaN)")
        assert words in caught.value.error.message


def test_a_column_of_nulls_is_there(prepare: Prepare) -> None:
    with pytest.raises(TrainerError, match=r"MissingColumn: a\.jsonl:1: 'text' is null"):
        prepare({"a.jsonl": jsonl({"text": None, "label": "red"})})
    with pytest.raises(TrainerError, match=r"a\.jsonl:2: the row has no 'text'; add it"):
        prepare({"a.jsonl": jsonl({"text": "x", "label": "red"}, {"label": "red"})})


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_an_empty_text_before_the_answer_is_usual(prepare: Prepare, name: str) -> None:
    """As Alpaca's input."""
    rows = [{"text": "Say hi.", "input": "", "label": "hi"}] * 2
    content = {
        "a.jsonl": lambda: jsonl(*rows),
        "a.csv": lambda: b"text,input,label\nSay hi.,,hi\n",
        "a.parquet": lambda: parquet(rows),
    }[name]()
    options = {"template": "{text}\n{input}\n{label}", "task": "generation"}
    assert prepare({name: content}, **options).train[0].prompt == "Say hi.\n\n"


def test_no_stratum_is_a_list(prepare: Prepare) -> None:
    rows = jsonl(*({"text": f"{i}", "label": "ab"[i % 2], "tags": ["x"]} for i in range(4)))
    with pytest.raises(TrainerError, match=r"a\.jsonl:1: 'tags' is a list or an object"):
        prepare({"a.jsonl": rows}, evalFraction=0.5, stratifyBy="tags")


@pytest.mark.parametrize(
    ("name", "content", "start"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": 1, "text": 2}', "a.jsonl:2: an object has the key"),
        ("a.jsonl", b'{"text": [{"b": {"a": 1, "a": 1}}]}', "a.jsonl:1: an object has the key 'a'"),
        ("a.json", b'[{"a": 1},\n{"text": "x", "text": "y"}]', "a.json#2: an object has the key"),
        ("a.jsonl", b'{"text": %s}' % (b"1" * 5000), "a.jsonl:1: not read: it has a number of"),
        ("a.json", b'[{"text": %s}]' % (b"1" * 5000), "a.json#1: not read: it has a number of"),
    ],
)
def test_json_that_says_no_one_thing_is_refused(
    tmp_path: Path, name: str, content: bytes, start: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainerError) as caught:
        list(read_rows(LocalFile(name, tmp_path / name)))
    assert caught.value.error.message.startswith(start)


def test_parquet_with_a_column_twice_is_refused(prepare: Prepare) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table([["a"], ["b"], ["red"]], names=["text", "text", "label"])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    with pytest.raises(TrainerError, match=r"a\.parquet:1: .* column 'text' twice"):
        prepare({"a.parquet": sink.getvalue().to_pybytes()})


def test_nan_and_infinity(prepare: Prepare) -> None:
    import pyarrow as pa

    table = _parquet(x=pa.array([math.inf, math.nan], pa.float32()), label=["red", "green"])
    options = {"template": "{label} {x}", "task": "generation"}
    with pytest.raises(TrainerError, match=r"a\.parquet#2: 'x' is null"):
        prepare({"a.parquet": table}, **options)
    rows = jsonl({"x": math.inf, "label": "red"})
    assert prepare({"a.jsonl": rows}, **options).train[0].label == "Infinity"
