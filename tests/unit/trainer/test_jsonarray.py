"""A JSON array as a stream: what json reads of the whole text, from chunks of any size."""

import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from luthier_trainer.data.jsonarray import ArrayError, array_items
from luthier_trainer.data.rows import LocalFile, read_rows
from luthier_trainer.errors import TrainerError


def value(rng: random.Random, depth: int = 0) -> Any:
    """Something that JSON can say, with what a chunk's end could cut badly."""
    simple = [None, True, False, -1.5e-300, 12345678901234567890, "", 'ä\n"\\\u2028😀', "]},{["]
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(simple)
    parts = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return parts if rng.random() < 0.5 else {f"k{i}é": part for i, part in enumerate(parts)}


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_it_reads_what_json_reads(chunk: int, ascii_only: bool) -> None:
    rng = random.Random(chunk)
    for indent in (None, 3):
        rows = [{"a": value(rng), "b": value(rng)} for _ in range(30)]
        text = f" \n{json.dumps(rows, ensure_ascii=ascii_only, indent=indent)}\n \n"
        assert list(array_items(io.StringIO(text), chunk)) == rows
    assert list(array_items(io.StringIO(" [ \n] "), chunk)) == []


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("between", ["", "\n", " \n\n "])
def test_objects_in_turn_are_read_too(chunk: int, between: str) -> None:
    rng = random.Random(chunk)
    rows = [{"a": value(rng), "b": value(rng)} for _ in range(30)]
    text = "".join(f"{between}{json.dumps(row, indent=2)}{between}" for row in rows)
    assert list(array_items(io.StringIO(text), chunk)) == rows
    broken = io.StringIO('{"a": 1}\n{"a" 2}')
    with pytest.raises(ArrayError) as caught:
        list(array_items(broken, chunk))
    assert (caught.value.line, caught.value.column) == (2, 6)


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1},\n{"a"}]',
        '[{"a": 1}\n {"a": 2}]',
        '[{"a": 1},\n {"a": tru}]',
        '[{"a": "x\ny"}]',
        '[{"a": "\\u12g4 and more text behind it"}]',
        '[{"a": 1}, \n\n',
        '[{"a": [1, 2',
        '[{"a": 1}, ]',
        '[{"a": "never closed]',
        '[{"a": 1}]\n [2]',
    ],
)
def test_mistakes_are_where_json_sees_them(text: str, chunk: int) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(ArrayError) as caught:
        list(array_items(io.StringIO(text), chunk))
    assert caught.value.line == expected.value.lineno
    assert caught.value.column == expected.value.colno


@pytest.mark.parametrize("text", ["", "  ", '"a"', "3"])
def test_other_files_are_no_array(text: str) -> None:
    with pytest.raises(ArrayError, match="one array of objects"):
        list(array_items(io.StringIO(text)))


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        (b'[{"a": 1},\n {"a": 2},\n {"a" 3}]', "x.json:3", "column 7, after row 2"),
        (b'[{"a": 1},\n 5]', "x.json#2", "an object was expected, found int"),
        (b'[{"a": 1},\n {"a": "\xff"}]', "x.json:2", "not UTF-8"),
        (b'[{"a": 1}, {"a": ' + b"[" * 100_000, "x.json#2", "nested too deeply"),
    ],
)
def test_errors_name_the_row(tmp_path: Path, content: bytes, place: str, words: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(TrainerError) as caught:
        list(read_rows(LocalFile("x.json", tmp_path / "x.json")))
    assert caught.value.error.code == "MalformedRow"
    assert caught.value.error.message.startswith(f"{place}: ")
    assert words in caught.value.error.message


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    row = json.dumps({"text": "word " * 200})
    with path.open("w") as file:
        file.write("[" + ",\n".join([row] * 40_000) + "]")
    assert path.stat().st_size > 40e6
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows(LocalFile("x.json", path)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 40_000
    assert peak < 12e6
