"""Which files of a folder hold which split: the layouts of people and hubs."""

import json
from pathlib import Path

import pytest
from unit.trainer.data_support import GOOD, lines
from unit.trainer.support import MakeSpec

from luthier_trainer.data.layout import Splits, check, find_splits, find_texts, is_table
from luthier_trainer.data.prepare import load
from luthier_trainer.errors import TrainerError

HASHED = [
    "data/train-00000-of-00002-a09b74b3ef9c3b56.parquet",
    "data/train-00001-of-00002-b1.parquet",
]


@pytest.mark.parametrize(
    ("keys", "wanted", "expected"),
    [
        (["train.jsonl", "dev.csv.gz"], {"train"}, {"train": 0, "dev": 1}),
        (
            ["README.md", ".gitattributes", "data/._dev.parquet", *HASHED],
            {"train"},
            {"train": (3, 4)},
        ),
        (
            ["dataset_infos.json", "data/validation-00000-of-00001.parquet"],
            {"train"},
            {"validation": 1},
        ),
        (
            ["stray.json", "data/train.jsonl", "data/valid.jsonl"],
            {"train"},
            {"train": 1, "valid": 2},
        ),
        (
            ["train/0000.parquet", "train/0001.parquet", "test/state.json", "test/0000.parquet"],
            {"train", "test"},
            {"train": (0, 1), "test": 3},
        ),
        (["data/dev/a.jsonl", "data/train/a.jsonl"], {"train"}, {"dev": 0, "train": 1}),
        (["train.jsonl", "train/old.jsonl"], {"train"}, {"train": 0}),
        (["en/a.jsonl", "fr/a.jsonl"], {"train"}, {}),
        (["en/a.jsonl", "fr/a.jsonl"], {"en"}, {"en": 0}),
        (["alpaca-data.json"], {"train"}, {"train": 0, "alpaca-data": 0}),
        (["test.jsonl"], {"train"}, {"test": 0}),
    ],
)
def test_layouts(
    keys: list[str], wanted: set[str], expected: dict[str, int | tuple[int, ...]]
) -> None:
    found = find_splits(filter(is_table, keys), wanted)
    named: Splits = {
        split: [keys[index] for index in ((which,) if isinstance(which, int) else which)]
        for split, which in expected.items()
    }
    assert found == named
    for split, members in found.items():
        check("s3://x", split, members, "dataset.uri")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a.txt", "b.md", "README.md", "LICENSE.txt"], {"train": ["a.txt", "b.md"]}),
        (["train.txt", "test.txt"], {"train": ["train.txt"], "test": ["test.txt"]}),
        (
            ["train/a/1.txt", "train/b.txt", "test/c.txt", "notes.txt"],
            {"train": ["train/a/1.txt", "train/b.txt"], "test": ["test/c.txt"]},
        ),
        (["en/a.txt", "fr/a.txt", "test/b.txt"], {"train": [0, 1], "test": ["test/b.txt"]}),
        (["data/dev/a.txt", "data/b.txt"], {"dev": ["data/dev/a.txt"], "train": ["data/b.txt"]}),
        (["README.md"], {}),
    ],
)
def test_layouts_of_texts(keys: list[str], expected: dict[str, list[str | int]]) -> None:
    named = {
        split: [keys[key] if isinstance(key, int) else key for key in members]
        for split, members in expected.items()
    }
    assert find_texts(keys, {"train"}) == named


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (["train-00000-of-00001-a1.parquet", "train-00000-of-00001-b2.parquet"], "AmbiguousSplit"),
        (["train-00000-of-00002-a1.parquet"], "MissingShard"),
        (["train/a.csv", "train/a.jsonl"], "AmbiguousSplit"),
        (["train/a.jsonl", "train/train-00000-of-00001.jsonl"], "AmbiguousSplit"),
    ],
)
def test_mistakes_of_layouts(keys: list[str], code: str) -> None:
    with pytest.raises(TrainerError) as caught:
        check("s3://x", "train", find_splits(keys, {"train"})["train"], "dataset.uri")
    assert caught.value.error.code == code


def test_only_what_the_spec_uses_is_read(tmp_path: Path, make_spec: MakeSpec) -> None:
    folder = tmp_path / "colours"
    for name, content in {
        "dataset_infos.json": b'{"default": {}}',
        "notes.json": b"[not read",
        "data/train-00000-of-00001-a09b74b3ef9c3b56.jsonl": GOOD,
        "data/test.jsonl": lines(("a rose", "red")),
        "data/broken.json": b"[not read",
        "data/extra-00000-of-00002.jsonl": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    spec = make_spec(dataset={"uri": f"file://{folder}", "test": "test"})
    examples = load(spec, tmp_path / "data")
    assert [example.place for example in examples.train] == [
        "train-00000-of-00001-a09b74b3ef9c3b56.jsonl:1",
        "train-00000-of-00001-a09b74b3ef9c3b56.jsonl:2",
    ]
    assert len(examples.test) == 1
    (folder / "data" / "broken.json").write_text(json.dumps("another"))
    assert load(spec, tmp_path / "again").digest == examples.digest

    with pytest.raises(TrainerError) as caught:
        load(make_spec(dataset={"uri": f"file://{folder}", "test": "dev"}), tmp_path / "lacking")
    assert caught.value.error.code == "UnknownSplit"
    assert "only broken, extra, test, train" in caught.value.error.message
