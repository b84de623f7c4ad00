"""Templates, formats, splits: what is accepted, and what each mistake is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier_api.finetuning import FineTuning
from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer import data
from luthier_trainer.errors import TrainerError
from luthier_trainer.rows import Row
from luthier_trainer.splits import divide, select
from luthier_trainer.template import Text, parse_template

TEMPLATE = "Text: {text}\nColour: {label}"
GOOD = b'{"text": "a tomato", "label": "red"}\n{"text": "a meadow", "label": "green"}\n'


def tuning(**dataset: Any) -> FineTuning:
    return FineTuning.model_validate(
        {
            "model": {"uri": "s3://models/tiny"},
            "task": dataset.pop("task", "classification"),
            "dataset": {"uri": "s3://datasets/x", "template": TEMPLATE, **dataset},
            "training": {"maxSteps": 1},
            "evaluation": {"metrics": ["loss"]},
        }
    )


def prepare(files: dict[str, bytes], **dataset: Any) -> data.Examples:
    return data.prepare(data.Source(files), tuning(**dataset))


@pytest.mark.parametrize(
    ("template", "row", "expected"),
    [
        (TEMPLATE, {"text": "x", "label": "red"}, Text("Text: x\nColour:", " red")),
        ("{a}{b}", {"a": "x ", "b": "y"}, Text("x ", "y")),
        ("<{a}>  {b}</s>", {"a": "x", "b": "y"}, Text("<x>", "  y</s>")),
        ('{{"q": "{a}"}} {b}', {"a": "x", "b": "y"}, Text('{"q": "x"}', " y")),
        ("{a} {a} {b-2}", {"a": "{b-2}", "b-2": "y"}, Text("{b-2} {b-2}", " y")),
        ("say {a}", {"a": "x"}, Text("say", " x")),
    ],
)
def test_templates(template: str, row: dict[str, str], expected: Text) -> None:
    parsed = parse_template(template)
    assert parsed.render(row) == expected
    assert parsed.completion(row[parsed.label_column]) == expected.completion


@pytest.mark.parametrize(
    ("template", "words"),
    [("{text} } {label}", ["'}'", "character 8"]), ("{ text}", ["'{'"]), ("text", ["{column}"])],
)
def test_template_mistakes(template: str, words: list[str]) -> None:
    with pytest.raises(TrainerError) as caught:
        parse_template(template)
    error = caught.value.error
    assert (error.code, error.param) == ("TemplateInvalid", "dataset.template")
    for word in words:
        assert word in error.message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", GOOD),
        ("a.jsonl", b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n\r\n")),
        ("a.json", json.dumps([json.loads(line) for line in GOOD.splitlines()]).encode()),
        ("a.csv", b'text,label\n"a tomato",red\na meadow,green\n'),
    ],
)
def test_formats(name: str, content: bytes) -> None:
    examples = prepare({name: content})
    assert [example.label for example in examples.train] == ["red", "green"]
    assert examples.train[1].text == Text("Text: a meadow\nColour:", " green")
    assert examples.labels == ["green", "red"]


def test_numbers_and_truth_become_json() -> None:
    content = b'{"text": 1.50, "label": true}\n{"text": "x", "label": 2}\n'
    assert [e.label for e in prepare({"a.jsonl": content}).train] == ["true", "2"]


def lines(*rows: tuple[str, str]) -> bytes:
    return "".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in rows).encode()


MISTAKES: list[tuple[str, dict[str, bytes], dict[str, Any], str, str, list[str]]] = [
    (
        "broken JSON",
        {"train.jsonl": GOOD + b'{"text": "x", "label": \n'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["train.jsonl:3", "JSON"],
    ),
    (
        "no object",
        {"train.jsonl": GOOD + b"[1, 2]\n"},
        {},
        "MalformedRow",
        "dataset.uri",
        ["train.jsonl:3", "list"],
    ),
    (
        "not UTF-8",
        {"train.jsonl": GOOD + b'{"text": "\xff"}\n'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["train.jsonl:3", "UTF-8"],
    ),
    (
        "broken array",
        {"a.json": b'[\n{"text": "x"},\n{"text"}]'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["a.json:3"],
    ),
    (
        "no array",
        {"a.json": b'{"text": "x"}'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["a.json", "array"],
    ),
    (
        "too many cells",
        {"a.csv": b"text,label\nx,red\ny,green,more\n"},
        {},
        "MalformedRow",
        "dataset.uri",
        ["a.csv:3", "3 cells"],
    ),
    (
        "open quote",
        {"a.csv": b'text,label\nx,"red\n'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["a.csv:2"],
    ),
    (
        "unknown field",
        {"train.jsonl": GOOD},
        {"template": "{txt} {label}"},
        "UnknownTemplateField",
        "dataset.template",
        ["'txt'", "text, label"],
    ),
    (
        "missing column",
        {"train.jsonl": GOOD + b'{"text": "x"}\n'},
        {},
        "MissingColumn",
        "dataset.uri",
        ["train.jsonl:3", "'label'"],
    ),
    (
        "null",
        {"train.jsonl": GOOD + b'{"text": null, "label": "red"}\n'},
        {},
        "MissingColumn",
        "dataset.uri",
        ["train.jsonl:3", "'text'"],
    ),
    (
        "empty label",
        {"train.jsonl": GOOD + b'{"text": "x", "label": " "}\n'},
        {},
        "EmptyCompletion",
        "dataset.uri",
        ["train.jsonl:3"],
    ),
    ("no rows", {"train.jsonl": b"\n"}, {}, "EmptyDataset", "dataset.uri", ["train.jsonl"]),
    (
        "unknown split",
        {"train.jsonl": GOOD, "valid.jsonl": GOOD},
        {"test": "test"},
        "UnknownSplit",
        "dataset.test",
        ["'test'", "train, valid"],
    ),
    (
        "empty split",
        {"train.jsonl": GOOD},
        {"eval": "train[2:]"},
        "EmptySplit",
        "dataset.eval",
        ["train[2:]", "2 rows"],
    ),
    (
        "label without examples",
        {"train.jsonl": GOOD, "test.jsonl": lines(("x", "red"), ("y", "blue"))},
        {"test": "test"},
        "LabelWithoutExamples",
        "dataset.test",
        ["test.jsonl:2", "'blue'", "green, red"],
    ),
    (
        "one label",
        {"train.jsonl": lines(("x", "red"), ("y", "red"))},
        {},
        "SingleLabel",
        "dataset.train",
        ["'red'"],
    ),
    (
        "unknown stratifyBy",
        {"train.jsonl": GOOD},
        {"evalFraction": 0.5, "stratifyBy": "tone"},
        "UnknownColumn",
        "dataset.stratifyBy",
        ["'tone'"],
    ),
    (
        "nothing left for eval",
        {"train.jsonl": GOOD},
        {"evalFraction": 0.5, "stratifyBy": "label"},
        "EmptySplit",
        "dataset.evalFraction",
        ["0.5"],
    ),
]


@pytest.mark.parametrize(
    ("files", "dataset", "code", "param", "words"),
    [mistake[1:] for mistake in MISTAKES],
    ids=[mistake[0] for mistake in MISTAKES],
)
def test_mistakes(
    files: dict[str, bytes], dataset: dict[str, Any], code: str, param: str, words: list[str]
) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare(files, **dataset)
    error = caught.value.error
    assert (error.code, error.param, caught.value.exit_code) == (code, param, ExitCode.DATA)
    for word in words:
        assert word in error.message


def test_duplicates_and_leakage_are_told() -> None:
    train = lines(("a", "red"), ("a", "red"), ("b", "green"))
    test = lines(("c", "red"), ("b", "green"))
    examples = prepare({"train.jsonl": train, "test.jsonl": test}, test="test")
    assert examples.summary == "3 train, 2 test rows, 2 labels"
    assert examples.warnings == [
        "1 of 3 train rows are duplicates",
        "1 of 2 test rows are in train too (first: test.jsonl:2): the metrics are optimistic",
    ]


def rows(count: int) -> list[Row]:
    return [Row({"n": str(i), "label": "ab"[i % 3 == 0]}, f"x:{i + 1}") for i in range(count)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", range(10)),
        ("train[:90%]", range(9)),
        ("train[90%:]", range(9, 10)),
        ("train[2:5]", range(2, 5)),
        ("train[-3:]", range(7, 10)),
        ("train[:-3]", range(7)),
        ("train[25%:75%]", range(2, 8)),
    ],
)
def test_split_expressions(expression: str, expected: range) -> None:
    chosen = select(expression, {"train": rows(10)}, "dataset.train")
    assert [int(row.values["n"]) for row in chosen] == list(expected)


def test_percentages_that_meet_share_no_row() -> None:
    for count in range(2, 40):
        splits = {"train": rows(count)}
        for percent in (10, 33, 50, 67, 90):
            low, high = round(percent * count / 100), count
            if 0 < low < high:
                first = select(f"train[:{percent}%]", splits, "p")
                second = select(f"train[{percent}%:]", splits, "p")
                assert first + second == splits["train"]


def test_a_share_keeps_the_balance_and_the_seed_decides() -> None:
    everything = rows(300)
    rest, share = divide(everything, 0.1, "label", seed=1)
    assert len(share) == 30
    assert sum(row.values["label"] == "b" for row in share) == 10
    assert sorted(row.place for row in rest + share) == sorted(row.place for row in everything)
    assert divide(everything, 0.1, "label", seed=1) == (rest, share)
    assert divide(everything, 0.1, "label", seed=2) != (rest, share)


def test_the_digest_is_of_the_contents() -> None:
    one = data.Source({"train.jsonl": b"a", "test.jsonl": b"b"}).digest
    assert data.Source({"test.jsonl": b"b", "train.jsonl": b"a"}).digest == one
    assert data.Source({"train.jsonl": b"a", "test.jsonl": b"c"}).digest != one
    assert one.startswith("sha256:")


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("none.jsonl", "DatasetNotFound"),
        ("none", "DatasetNotFound"),
        ("doubled", "AmbiguousSplit"),
    ],
)
def test_fetch_mistakes(tmp_path: Path, uri: str, code: str) -> None:
    (tmp_path / "doubled").mkdir()
    for suffix in ("csv", "jsonl"):
        (tmp_path / "doubled" / f"train.{suffix}").write_bytes(GOOD)
    with pytest.raises(TrainerError) as caught:
        data.fetch(f"file://{tmp_path}/{uri}", S3Access(), ["/"])
    assert caught.value.error.code == code


def test_fetch_a_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(GOOD)
    (tmp_path / "README.md").write_text("not data")
    assert data.fetch(f"file://{tmp_path}", S3Access(), ["/"]).files == {"train.jsonl": GOOD}
    alone = data.fetch(f"file://{tmp_path}/train.jsonl", S3Access(), ["/"])
    assert alone.files == {"train.jsonl": GOOD}
