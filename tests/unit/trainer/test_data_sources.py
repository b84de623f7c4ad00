"""Where rows come from: folders, packed files, several files of a split, S3; and rows on disk."""

import gzip
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import GOOD, Prepare, jsonl, lines, parquet, preparer
from unit.trainer.support import MakeSpec, Seaweed

from luthier_api.result import ExitCode
from luthier_trainer.data.prepare import load
from luthier_trainer.data.sources import fetch
from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")


@pytest.fixture
def prepare(tmp_path: Path, make_spec: MakeSpec) -> Prepare:
    return preparer(tmp_path, make_spec)


@pytest.mark.parametrize(
    ("uri", "code", "exit_code", "words"),
    [
        ("none.jsonl", "DatasetNotFound", ExitCode.NOT_FOUND, ["none.jsonl", "upload it"]),
        ("none", "DatasetNotFound", ExitCode.NOT_FOUND, ["*.parquet", "one per split"]),
        ("", "DatasetNotFound", ExitCode.NOT_FOUND, ["deep/down", "name that folder"]),
        ("doubled", "AmbiguousSplit", ExitCode.DATA, ["'train'", "train.csv, train.jsonl"]),
        ("lacking", "MissingShard", ExitCode.DATA, ["'test'", "2 of 3 files"]),
        ("numbered", "AmbiguousSplit", ExitCode.DATA, ["NAME-00000-of-00002"]),
    ],
)
def test_mistakes_of_folders(
    tmp_path: Path, make_spec: MakeSpec, uri: str, code: str, exit_code: ExitCode, words: list[str]
) -> None:
    for name in (
        "deep/down/train.jsonl",
        "doubled/train.csv",
        "doubled/train.jsonl",
        "lacking/train.jsonl",
        "lacking/test-00000-of-00003.jsonl",
        "lacking/test-00002-of-00003.jsonl",
        "numbered/train-00000-of-00001.jsonl",
        "numbered/train-00000-of-00002.jsonl",
    ):
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(GOOD)
    with pytest.raises(TrainerError) as caught:
        fetch(f"file://{tmp_path}/store/{uri}", make_spec(), tmp_path / "x", "dataset.mix[0].uri")
    error = caught.value.error
    assert (error.code, caught.value.exit_code) == (code, exit_code)
    assert error.param == "dataset.mix[0].uri"
    for word in words:
        assert word in error.message


def test_unpacked_and_parquet(prepare: Prepare) -> None:
    import zstandard

    rows = [json.loads(line) for line in GOOD.splitlines()]
    plain = prepare({"a.jsonl": GOOD})
    for name, content in (
        ("a.jsonl.gz", gzip.compress(GOOD)),
        ("b.jsonl.zst", zstandard.compress(GOOD)),
        ("c.parquet", parquet(rows)),
    ):
        found = prepare({name: content})
        assert [e.prompt for e in found.train] == [e.prompt for e in plain.train]
        assert found.train[0].place.startswith(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", GOOD),
        ("a.jsonl.gz", gzip.compress(GOOD)[:-12]),
        ("a.jsonl.zst", GOOD),
        ("a.parquet", GOOD),
    ],
    ids=["gz", "gz, cut off", "zst", "parquet"],
)
def test_a_file_that_is_not_what_its_name_says(prepare: Prepare, name: str, content: bytes) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare({name: content})
    assert caught.value.error.code == "MalformedRow"
    assert f"{name}:1: not " in caught.value.error.message


def test_several_files_of_a_split_in_s3(
    make_spec: MakeSpec, tmp_path: Path, seaweed: Seaweed, s3: Any
) -> None:
    """Some packed, beside files that are no data, read in their order."""
    rows = [{"text": f"thing {i}", "label": "red" if i % 2 else "green"} for i in range(40)]
    stored = {
        "train-00000-of-00003.jsonl": jsonl(*rows[:10]),
        "train-00001-of-00003.jsonl.gz": gzip.compress(jsonl(*rows[10:20])),
        "train-00002-of-00003.parquet": parquet(rows[20:30]),
        "test.json": json.dumps(rows[30:]).encode(),
        "README.md": b"# colours",
        "old/train.jsonl": b"not read",
    }
    for name, content in stored.items():
        s3.put_object(Bucket="datasets", Key=f"colours/{name}", Body=content)
    uri = "s3://datasets/colours"
    spec = make_spec(dataset={"uri": uri, "test": "test"}, storage=seaweed.access())
    examples = load(spec, tmp_path / "data")
    assert [example.place for example in examples.train][9:21:10] == [
        "train-00000-of-00003.jsonl:10",
        "train-00001-of-00003.jsonl.gz:10",
    ]
    assert [e.prompt for e in examples.train] == [f"Text: {r['text']}\nColour:" for r in rows[:30]]
    assert [e.place for e in examples.test] == [f"test.json#{i}" for i in range(1, 11)]
    sources = fetch(uri, spec, tmp_path / "again")
    assert sorted(sources.splits) == ["test", "train"]
    assert len(sources.digests) == 4

    s3.delete_object(Bucket="datasets", Key="colours/train-00001-of-00003.jsonl.gz")
    with pytest.raises(TrainerError) as caught:
        fetch(uri, spec, tmp_path / "lacking")
    assert caught.value.error.code == "MissingShard"


def test_one_file_in_s3(make_spec: MakeSpec, tmp_path: Path, seaweed: Seaweed, s3: Any) -> None:
    s3.put_object(Bucket="datasets", Key="one/valid.jsonl", Body=GOOD)
    spec = make_spec(storage=seaweed.access())
    source = fetch("s3://datasets/one/valid.jsonl", spec, tmp_path / "one")
    assert {
        name: [f.path.read_bytes() for f in files] for name, files in source.splits.items()
    } == {
        "train": [GOOD],
        "valid": [GOOD],
    }
    with pytest.raises(TrainerError) as caught:
        fetch("s3://datasets/one/none.jsonl", spec, tmp_path / "none")
    assert caught.value.error.code == "DatasetNotFound"


def test_a_key_of_a_config_map(make_spec: MakeSpec, tmp_path: Path) -> None:
    """As the kubelet mounts it: the key is a link into a folder that a link names."""
    mount = tmp_path / "mounts" / "colours"
    (mount / "..2026").mkdir(parents=True)
    (mount / "..2026" / "rows.jsonl").write_bytes(GOOD)
    (mount / "..data").symlink_to("..2026")
    (mount / "rows.jsonl").symlink_to("..data/rows.jsonl")
    uri = "configmap://colours/rows.jsonl"
    spec = make_spec(dataset={"uri": uri, "test": None}, config_maps_dir=str(tmp_path / "mounts"))
    examples = load(spec, tmp_path / "data")
    assert [(e.label, e.place) for e in examples.train] == [
        ("red", "rows.jsonl:1"),
        ("green", "rows.jsonl:2"),
    ]


@pytest.mark.parametrize("in_memory_bytes", [0, 10**6])
def test_values_of_parquet_read_alike_in_memory_and_on_disk(
    prepare: Prepare, in_memory_bytes: int
) -> None:
    """And as they would be written: a date without quotes."""
    values: dict[str, tuple[Any, str]] = {
        "day": (date(2020, 1, 31), "2020-01-31"),
        "when": (datetime(2020, 1, 31, 12, 30), "2020-01-31 12:30:00"),
        "price": (Decimal("1.50"), "1.50"),
        "sold": (True, "true"),
        "count": (3, "3"),
        "share": (0.1, "0.1"),
        "many": (
            [{"on": date(2020, 1, 31), "x": float("nan")}],
            '[{"on": "2020-01-31", "x": null}]',
        ),
        "label": ("red", "red"),
    }
    row = {name: value for name, (value, _) in values.items()}
    examples = prepare(
        {"a.parquet": parquet([row, {**row, "label": "green"}])},
        in_memory_bytes=in_memory_bytes,
        template="|".join(f"{{{name}}}" for name in values),
    )
    text = examples.train[0].prompt + examples.train[0].completion
    assert text.split("|") == [text for _, text in values.values()]


@pytest.mark.parametrize("in_memory_bytes", [0, 10**6])
def test_nan_in_parquet_is_a_missing_value(prepare: Prepare, in_memory_bytes: int) -> None:
    rows = [{"text": "x", "label": 1.0}, {"text": "y", "label": float("nan")}]
    with pytest.raises(TrainerError) as caught:
        prepare({"a.parquet": parquet(rows)}, in_memory_bytes=in_memory_bytes)
    assert caught.value.error.code == "MissingColumn"
    assert "a.parquet#2" in caught.value.error.message


def test_half_of_a_surrogate_pair_is_refused_on_disk_too(prepare: Prepare) -> None:
    content = rb'[{"text": "x", "label": "green"}, {"text": "\ud83d", "label": "red"}]'
    with pytest.raises(TrainerError, match=r"a\.json#2: 'text' has '\\ud83d'"):
        prepare({"a.json": content}, in_memory_bytes=0)


def test_text_of_parquet_that_is_not_utf_8_is_refused(prepare: Prepare) -> None:
    import pyarrow as pa

    text = pa.array([b"\xff"]).view(pa.string())
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table({"text": text, "label": ["red"]}), sink)
    with pytest.raises(TrainerError, match=r"a\.parquet#1: not read: .*utf-8"):
        prepare({"a.parquet": sink.getvalue().to_pybytes()})


def test_names_of_classes_in_parquet(prepare: Prepare) -> None:
    """The package datasets keeps classes as numbers, and their names in the file's schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"feature": {"_type": "ClassLabel", "names": ["O", "B-P", "I-P"]}}
    table = pa.table({"words": [["Ada", "Lovelace", "wrote"]], "tags": [[1, 2, 0]]})
    metadata = {"huggingface": json.dumps({"info": {"features": {"tags": names}}})}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    examples = prepare(
        {"a.parquet": sink.getvalue().to_pybytes()},
        task="extraction",
        columns={"tokens": "words", "tags": "tags"},
    )
    assert examples.train[0].tags == ("B-P", "I-P", "O")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_rows_on_disk_are_those_in_memory(prepare: Prepare, suffix: str) -> None:
    rows = [{"text": f"text {i} ä\n2", "label": "red" if i % 3 else "green"} for i in range(2000)]
    content = {
        "jsonl": lambda: "".join(json.dumps(row) + "\n\n" for row in rows).encode(),
        "json": lambda: json.dumps(rows).encode(),
        "csv": lambda: (
            b"text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows).encode()
        ),
        "parquet": lambda: parquet(rows),
    }[suffix]()
    files = {f"a.{suffix}": content}
    options: dict[str, Any] = {"evalFraction": 0.2, "stratifyBy": "label"}
    memory = prepare(files, **options)
    disk = prepare(files, in_memory_bytes=0, **options)
    assert isinstance(memory.train, list)
    assert not isinstance(disk.train, list)
    assert list(disk.train) == memory.train
    assert list(disk.eval[3:9]) == memory.eval[3:9]
    assert {row["text"] for row in rows} == {
        example.prompt[len("Text: ") : -len("\nColour:")] for example in [*disk.train, *disk.eval]
    }
    assert (disk.facts, disk.digest, disk.findings) == (
        memory.facts,
        memory.digest,
        memory.findings,
    )


@pytest.mark.parametrize("in_memory_bytes", [0, 10**6])
def test_a_test_file_sorted_by_label_is_measured_on_all_labels(
    prepare: Prepare, in_memory_bytes: int
) -> None:
    def rows(count: int, start: int = 0) -> bytes:
        half = count // 2
        return lines(*((f"x{start + i}", "green" if i < half else "red") for i in range(count)))

    files = {"train.jsonl": rows(200), "test.jsonl": rows(100, 1000)}
    examples = prepare(
        files,
        in_memory_bytes=in_memory_bytes,
        most=10,
        test="test",
        evalFraction=0.5,
        stratifyBy="label",
    )
    for drawn, whole in ((examples.reported, examples.test), (examples.watched, examples.eval)):
        assert [example.label for example in drawn] == ["green"] * 5 + ["red"] * 5
        places = [example.place for example in whole]
        assert [places.index(example.place) for example in drawn] == sorted(
            places.index(example.place) for example in drawn
        )
    alone = prepare(files, most=100, in_memory_bytes=in_memory_bytes, test="test")
    assert list(alone.reported) == list(alone.test)
    assert len(alone.watched) == 0


def test_lists_on_disk_are_those_in_memory(prepare: Prepare) -> None:
    """Values that aren't text: of .parquet they go through JSON."""
    rows = [
        {"words": ["Ada", f"w{i}"], "tags": ["B-P", "O"], "more": {"a": None, "b": [i]}}
        for i in range(5)
    ]
    options: dict[str, Any] = {"task": "extraction", "columns": {"tokens": "words", "tags": "tags"}}
    memory = prepare({"a.parquet": parquet(rows)}, **options)
    disk = prepare({"a.parquet": parquet(rows)}, in_memory_bytes=0, **options)
    assert list(disk.train) == memory.train
    assert memory.train[4].tokens == ("Ada", "w4")
