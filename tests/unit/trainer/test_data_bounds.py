"""Data that is small as it is stored and huge when it is read: refused before it fills the pod."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard
from unit.trainer.data_support import Prepare, bare_preparer, jsonl

from luthier_trainer.data import jsonarray, row, rows, table, unpack
from luthier_trainer.data.row import LocalFile
from luthier_trainer.data.rows import read_rows
from luthier_trainer.data.sources import Source, total_size
from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")

MB = 10**6


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return bare_preparer(tmp_path)


def _parquet(compression: str = "zstd", **columns: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression=compression)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("frames", [1, 40])
def test_a_packed_file_may_not_grow_without_bounds(
    prepare: Prepare, tmp_path: Path, ending: str, frames: int
) -> None:
    pack = {"gz": gzip.compress, "zst": zstandard.compress}[ending]
    content = pack(b" " * (70 * MB // frames)) * frames
    assert len(content) < MB
    tracemalloc.start()
    try:
        with pytest.raises(TrainerError) as caught:
            prepare({f"a.jsonl.{ending}": content})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.error.code == "DatasetTooLarge"
    assert "64 MB and 200 times" in caught.value.error.message
    assert peak < 40 * MB
    assert not list(tmp_path.rglob("*.plain"))


def test_data_that_packs_well_is_read(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than what is always allowed, but not 200 times the file."""
    monkeypatch.setattr(row, "UNPACKED_BYTES", 10_000)
    content = jsonl(*({"text": f"number {i} of many", "label": "ab"[i % 2]} for i in range(2000)))
    for name, packed in (
        ("a.jsonl.gz", gzip.compress(content)),
        ("a.jsonl.zst", zstandard.compress(content)),
    ):
        assert len(prepare({name: packed}).train) == 2000


PARQUET: dict[str, Any] = {
    "one text in all rows": lambda: {"text": ["x" * 300_000] * 1000, "label": ["a"] * 1000},
    "one huge text": lambda: {"text": ["x" * 70 * MB], "label": ["a"]},
    "a huge list": lambda: {"text": [[0] * 9_000_000], "label": ["a"]},
    "many rows": lambda: {"text": [0] * 9_000_000},
    "lists of one text": lambda: {"text": [["x" * 300_000] * 500], "label": ["a"]},
}


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet_is_judged_by_what_it_holds(prepare: Prepare, kind: str) -> None:
    import pyarrow as pa

    columns = PARQUET[kind]()
    if kind in ("many rows", "a huge list"):
        zeros = pa.array(memoryview(bytes(4 * 9_000_000)).cast("i"))
        listed = pa.ListArray.from_arrays(pa.array([0, len(zeros)], pa.int32()), zeros)
        columns = {"text": zeros} if kind == "many rows" else {"text": listed, "label": ["a"]}
    content = _parquet(**columns)
    assert len(content) < 100_000
    del columns
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    with pytest.raises(TrainerError) as caught:
        prepare({"a.parquet": content}, template="{text}", task="generation")
    assert caught.value.error.code in ("DatasetTooLarge", "RowTooLarge")
    assert pool.bytes_allocated() - before < 200 * MB


def test_what_is_kept_in_memory_is_told_by_what_it_decodes_to(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(_parquet(text=["x" * 10_000] * 500))
    assert path.stat().st_size < 2000
    file = LocalFile("a.parquet", path)
    source = Source("file:///a.parquet", {"train": [file], "a": [file]}, ())
    assert 5 * MB < total_size([source], 10 * MB) < 6 * MB
    assert total_size([source], MB) > MB


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_short_rows_take_more_room_than_their_text(tmp_path: Path, name: str) -> None:
    """21 million of them are 64 MB, and gigabytes as rows."""
    content = {
        "a.jsonl": b"{}\n" * 100_000,
        "a.json": b"[" + b"{}," * 99_999 + b"{}]",
        "a.csv": b"a,b\n" * 100_000,
    }[name]
    (tmp_path / name).write_bytes(content)
    source = Source("file:///x", {"train": [LocalFile(name, tmp_path / name)]}, ())
    assert total_size([source], 64 * MB) > 10 * MB
    assert total_size([source], len(content) - 1) > len(content) - 1


def test_large_parquet_is_read_from_disk(prepare: Prepare) -> None:
    texts = [f"{'x' * 10_000} {i % 3}" for i in range(600)]
    content = _parquet(text=texts, label=["a", "b"] * 300)
    assert len(content) < 100_000
    examples = prepare({"a.parquet": content}, in_memory_bytes=MB)
    assert not isinstance(examples.train, list)
    assert [example.prompt for example in examples.train] == [
        f"Text: {text}\nColour:" for text in texts
    ]


@pytest.mark.parametrize("in_memory_bytes", [0, 10**9])
@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "%s' % (b"x" * 300), "a.jsonl:2"),
        ("a.json", b'[{"text": "a"}, {"text": "%s' % (b"x" * 300), "a.json#2"),
        ("a.csv", b'text,label\na,b\n"%s' % (b"x" * 300), "a.csv:3"),
        ("a.csv", b'text,label\na,b\n"%s' % (b"x\n" * 300), "a.csv:3"),
        ("a.csv", b"text,label\na,b\n%s" % (b"," * 300), "a.csv:3"),
    ],
)
def test_a_row_without_an_end_is_refused_where_it_begins(
    prepare: Prepare,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    place: str,
    in_memory_bytes: int,
) -> None:
    for module in (row, rows):
        monkeypatch.setattr(module, "MAX_ROW_BYTES", 100)
    monkeypatch.setattr("luthier_trainer.data.csvrows.MAX_ROW_BYTES", 100)
    monkeypatch.setattr(jsonarray, "_MOST", 100)
    monkeypatch.setattr(jsonarray, "_CHUNK", 50)
    with pytest.raises(TrainerError) as caught:
        prepare({name: content}, in_memory_bytes=in_memory_bytes)
    assert caught.value.error.code == "RowTooLarge"
    assert caught.value.error.message.startswith(f"{place}: the row is larger than")


def test_a_giant_line_is_not_read_into_memory(tmp_path: Path) -> None:
    for name, begin in (("a.jsonl", b'{"text": "'), ("a.csv", b'text\n"'), ("a.json", b'[{"t": "')):
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(begin)
            file.truncate(300 * MB)  # NULs, which take no room on the disk
        tracemalloc.start()
        try:
            with pytest.raises(TrainerError):
                list(read_rows(LocalFile(name, path)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 150 * MB


def test_the_bounds_are_those_of_memory() -> None:
    assert table.IN_MEMORY_BYTES == row.UNPACKED_BYTES
    assert row.most_unpacked(10) == row.UNPACKED_BYTES
    assert row.most_unpacked(MB) == 200 * MB
    assert unpack._PIECE <= 512  # of which Zstandard makes 16 MiB at most


def test_deep_json_is_refused(prepare: Prepare) -> None:
    deep = b'{"text": ' + b"[" * 200_000
    for name in ("a.jsonl", "a.json"):
        with pytest.raises(TrainerError, match="nested too deeply"):
            prepare({name: deep})
    assert json.loads('{"a": [[[1]]]}')
