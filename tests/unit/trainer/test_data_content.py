"""Files that hold something else than their names say, and what each is told to do."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard
from unit.trainer.data_support import GOOD, Prepare, bare_preparer, parquet

from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")

ROWS = [json.loads(line) for line in GOOD.splitlines()]
ARRAY = json.dumps(ROWS).encode()
BY_COLUMNS = {name: {at: row[name] for at, row in enumerate(ROWS, start=5)} for name in ROWS[0]}
PRINTED = "\n".join(map(str, ROWS)).encode()
OVER_LINES = "\n".join(json.dumps(row, indent=2) for row in ROWS).encode()


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("train.jsonl")
        member.size = len(GOOD)
        archive.addfile(member, io.BytesIO(GOOD))
    return buffer.getvalue()


def _feather() -> bytes:
    import pyarrow as pa
    import pyarrow.feather

    sink = pa.BufferOutputStream()
    pyarrow.feather.write_feather(pa.Table.from_pylist(ROWS), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _stream() -> bytes:
    """As the package datasets writes its .arrow files."""
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


CASES = {
    "array in .jsonl": ("a.jsonl", ARRAY, "rename the file to a.json,"),
    "array over lines": ("a.jsonl", json.dumps(ROWS, indent=1).encode(), "to a.json,"),
    "objects over lines": ("A.JSONL", OVER_LINES, "rename the file to A.json,"),
    "lines of an old Mac": ("a.jsonl", GOOD.replace(b"\n", b"\r"), "rename the file to a.json,"),
    "gzip": ("a.jsonl", gzip.compress(GOOD), "gzip; rename the file to a.jsonl.gz"),
    "gzip of .csv": ("a.csv", gzip.compress(GOOD), "rename the file to a.csv.gz"),
    "Zstandard": ("a.json", zstandard.compress(GOOD), "rename the file to a.json.zst"),
    "not packed": ("a.jsonl.gz", GOOD, "rename the file to a.jsonl if it is plain"),
    "packed twice": ("a.jsonl.gz", gzip.compress(gzip.compress(GOOD)), "unpack it"),
    "packed otherwise": ("a.jsonl.gz", zstandard.compress(GOOD), "not gz; unpack it"),
    "cut .zst": ("a.jsonl.zst", zstandard.compress(GOOD)[:-5], "cut short; upload the file again"),
    "zip": ("a.jsonl", _zip("train.jsonl"), "a zip archive; unpack it"),
    "tar": ("a.jsonl", _tar(), "a tar archive; unpack it"),
    "bzip2": ("a.csv", b"BZh91AY&SY", "bzip2; unpack it"),
    "new Excel": ("a.csv", _zip("xl/workbook.xml"), "(.xlsx); save it as CSV UTF-8"),
    "old Excel": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "(.xls); save it as CSV UTF-8"),
    "Excel as Parquet": ("a.parquet", _zip("xl/workbook.xml"), "save it as CSV UTF-8"),
    "lines as Parquet": ("a.parquet", GOOD, "JSON; rename the file to a.jsonl"),
    "empty Parquet": ("a.parquet", b"", "upload the file again"),
    "UTF-16": ("a.jsonl", GOOD.decode().encode("utf-16"), "save the file as UTF-8"),
    "UTF-16 without a mark": ("a.csv", "text,label\na,b".encode("utf-16-le"), "as UTF-8"),
    "UTF-32": ("a.jsonl", GOOD.decode().encode("utf-32"), "UTF-32 text; save the file as UTF-8"),
    "Windows": ("a.csv", "text,label\ngröße,red\n".encode("latin-1"), "a.csv:2: not UTF-8; save"),
    "Windows in .jsonl": ("a.jsonl", GOOD + b'{"text": "\xe4"}', "a.jsonl:3: not UTF-8; save"),
    "page": ("a.jsonl", b"\n<!DOCTYPE HTML><p>Log in", "an HTML page; see what the address"),
    "denied": ("a.csv", b"<?xml version='1.0'?><Error>", "XML; see what the address answers"),
    "pointer": (
        "a.jsonl",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "git lfs pull",
    ),
    "lines as .csv": ("a.csv", GOOD, "JSON; rename the file to a.jsonl"),
    "array as .csv": ("a.csv", ARRAY, "rename the file to a.json"),
    "table as .jsonl": ("a.jsonl", b"text,label\na,red\n", "rename the file to a.csv"),
    "tabs as .json": ("a.json", b"text\tlabel\na\tred\n", "rename the file to a.tsv"),
    "pandas' to_json": ("a.json", json.dumps(BY_COLUMNS).encode(), "lines=True"),
    "pandas' to_json as .jsonl": ("a.jsonl", json.dumps(BY_COLUMNS).encode(), "orient='records'"),
    "Python's str()": ("a.jsonl", PRINTED, "a.jsonl:1: ", "with json.dumps"),
    "Python's str() behind": ("a.jsonl", GOOD + PRINTED, "a.jsonl:3: ", "with json.dumps"),
    "Python's str() as .json": ("a.json", PRINTED, "a.json:1: ", "with json.dumps"),
    "Python's list": ("a.json", str(ROWS).encode(), "a.json:1: ", "with json.dumps"),
    "cut line": ("a.jsonl", GOOD[:-5], "a.jsonl:2: not JSON", "cut short, upload it again"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_is_told_its_remedy(tmp_path: Path, case: tuple[str, bytes, *tuple[str, ...]]) -> None:
    name, content, *words = case
    message = _refused(bare_preparer(tmp_path), name, content)
    for word in words:
        assert word in message
    assert "remove the row" not in message


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
@pytest.mark.parametrize("kind", ["Parquet", "Feather", "Arrow stream"])
def test_tables_of_other_programs(tmp_path: Path, name: str, kind: str) -> None:
    content = {"Parquet": lambda: parquet(ROWS), "Feather": _feather, "Arrow stream": _stream}
    message = _refused(bare_preparer(tmp_path), name, content[kind]())
    assert ("rename the file to a.parquet" if kind == "Parquet" else "write it as .par") in message


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz"])
def test_an_empty_file_is_named_once(tmp_path: Path, name: str) -> None:
    content = gzip.compress(b"") if name.endswith("gz") else b""
    with pytest.raises(TrainerError) as caught:
        bare_preparer(tmp_path)({name: content})
    assert caught.value.error.code == "EmptyDataset"
    assert caught.value.error.message.startswith(f"{name}: no rows")


def _refused(prepare: Prepare, name: str, content: bytes) -> str:
    with pytest.raises(TrainerError) as caught:
        prepare({name: content})
    assert caught.value.error.code == "MalformedRow"
    assert caught.value.error.message.startswith((f"{name}:", f"{name}#1:"))
    return caught.value.error.message
