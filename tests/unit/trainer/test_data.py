"""Templates, formats, splits: what is accepted, and what each mistake is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import GOOD, TEMPLATE, Prepare, jsonl, lines, preparer
from unit.trainer.support import MakeSpec

from luthier_api.result import ExitCode
from luthier_trainer.data.template import Text, parse_template
from luthier_trainer.errors import TrainerError


@pytest.fixture
def prepare(tmp_path: Path, make_spec: MakeSpec) -> Prepare:
    return preparer(tmp_path, make_spec)


@pytest.mark.parametrize(
    ("template", "row", "expected"),
    [
        (TEMPLATE, {"text": "x", "label": "red"}, Text("Text: x\nColour:", " red")),
        ("{a}{b}", {"a": "x ", "b": "y"}, Text("x ", "y")),
        ("<{a}>  {b}</s>", {"a": "x", "b": "y"}, Text("<x>", "  y</s>")),
        ('{{"q": "{a}"}} {b}', {"a": "x", "b": "y"}, Text('{"q": "x"}', " y")),
        ("{a} {a} {b-2}", {"a": "{b-2}", "b-2": "y"}, Text("{b-2} {b-2}", " y")),
        ("say {a}", {"a": "x"}, Text("say", " x")),
        # Backslash and n, as a shell or single quotes in YAML leave them, are a line feed in the
        # template, but stay what they are in a row.
        (r"{a}\n{b}\n", {"a": r"x\ny", "b": r"\n"}, Text("x\\ny\n", "\\n\n")),
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
        ("a.json", b" \n" + GOOD),
        ("a.json", GOOD.replace(b", ", b",\n  ").replace(b"}\n", b"\n}")),
        ("a.csv", b'text,label\n"a tomato",red\na meadow,green\n'),
    ],
)
def test_formats(prepare: Prepare, name: str, content: bytes) -> None:
    examples = prepare({name: content})
    assert [example.label for example in examples.train] == ["red", "green"]
    second = examples.train[1]
    assert (second.prompt, second.completion) == ("Text: a meadow\nColour:", " green")
    assert examples.completions == {"green": " green", "red": " red"}
    assert examples.labels == ["green", "red"]


def test_numbers_and_truth_become_json(prepare: Prepare) -> None:
    content = b'{"text": 1.50, "label": true}\n{"text": "x", "label": 2}\n'
    assert [e.label for e in prepare({"a.jsonl": content}).train] == ["true", "2"]


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
        {"a.json": b'"text"'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["a.json", "array"],
    ),
    *(
        (
            f"half of a surrogate pair in {name}",
            {name: content},
            {},
            "MalformedRow",
            "dataset.uri",
            [f"{place}: 'text'", r"'\ud83d'", "remove the row"],
        )
        for name, content, place in (
            ("a.jsonl", GOOD + rb'{"text": "broken \ud83d", "label": "red"}', "a.jsonl:3"),
            ("a.json", rb'[{"text": "\ud83d", "label": "red"}]', "a.json#1"),
        )
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
        "half of a surrogate pair in a column's name",
        {"a.jsonl": GOOD + rb'{"text": "x", "label": "red", "\ud83d": 1}'},
        {},
        "MalformedRow",
        "dataset.uri",
        ["a.jsonl:3", r"name has '\ud83d'"],
    ),
    (
        "NaN",
        {"train.jsonl": GOOD + b'{"text": "x", "label": NaN}\n'},
        {},
        "MissingColumn",
        "dataset.uri",
        ["train.jsonl:3", "'label'"],
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
    prepare: Prepare,
    files: dict[str, bytes],
    dataset: dict[str, Any],
    code: str,
    param: str,
    words: list[str],
) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare(files, **dataset)
    error = caught.value.error
    assert (error.code, error.param, caught.value.exit_code) == (code, param, ExitCode.DATA)
    for word in words:
        assert word in error.message


def test_duplicates_and_leakage_are_told(prepare: Prepare) -> None:
    train = lines(("a", "red"), ("a", "red"), ("b", "green"))
    test = lines(("c", "red"), ("b", "green"))
    examples = prepare({"train.jsonl": train, "test.jsonl": test}, test="test")
    assert examples.summary == "3 train, 2 test rows, 2 labels"
    assert examples.warnings == [
        "1 of 3 train rows are duplicates",
        "1 of 2 test rows are in train too (first: test.jsonl:2): the metrics are optimistic",
    ]


@pytest.mark.parametrize(
    "dataset",
    [
        {"template": "{text}"},
        {"template": "Text: {text}"},
        {"columns": {"prompt": "none", "completion": "text"}},
    ],
)
def test_texts_that_ask_nothing_are_compared_as_a_whole(
    prepare: Prepare, dataset: dict[str, Any]
) -> None:
    rows = [{"text": text, "none": ""} for text in ("a", "b", "c", "d")]
    files = {"train.jsonl": jsonl(*rows[:3]), "test.jsonl": jsonl(*rows[2:])}
    facts = prepare(files, task="generation", test="test", **dataset).facts
    assert (facts.leaked, facts.duplicates) == (1, 0)


def test_a_template_with_the_answer_in_the_prompt_is_refused(prepare: Prepare) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare({"a.jsonl": GOOD}, template="{label} {text}: {label}")
    assert (caught.value.error.code, caught.value.error.param) == (
        "LabelInPrompt",
        "dataset.template",
    )


def test_slices_that_share_rows_are_refused(prepare: Prepare) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare({"a.jsonl": GOOD}, train="train[:2]", eval="train[1:2]")
    assert caught.value.error.code == "SplitsOverlap"


def test_mixed_sources_come_by_their_weight(prepare: Prepare) -> None:
    own = lines(("a", "red"), ("b", "green"))
    other = lines(*((f"m{i}", "red") for i in range(10)))
    mix = [{"uri": "s3://datasets/y", "weight": 1.5}]
    examples = prepare({"a.jsonl": own}, {"m.jsonl": other}, mix=mix)
    assert len(examples.train) == 17
    assert examples.facts.duplicates == 0
    again = prepare({"a.jsonl": own}, {"m.jsonl": other}, mix=mix)
    assert again.train == examples.train
    assert again.digest != prepare({"a.jsonl": own}).digest


def test_labels_are_those_that_the_weights_of_a_mix_leave(prepare: Prepare) -> None:
    own = lines(("a", "red"), ("b", "green"), ("c", "green"))
    other = lines(*((f"m{i}", "red") for i in range(9)), ("m9", "blue"))
    mix = [{"uri": "s3://datasets/y", "weight": 0.1}]
    files = {"train.jsonl": own, "test.jsonl": lines(("x", "red"))}
    examples = prepare(files, {"m.jsonl": other}, mix=mix, test="test")
    assert examples.labels == ["green", "red"]
    assert examples.findings.balance["train"] == {"green": 2, "red": 2}
    assert examples.warnings == ["the weights of mix leave no row of 'blue': not learnt"]

    files["test.jsonl"] += lines(("y", "blue"))
    with pytest.raises(TrainerError) as caught:
        prepare(files, {"m.jsonl": other}, mix=mix, test="test")
    assert caught.value.error.code == "LabelWithoutExamples"
    assert "test.jsonl:2" in caught.value.error.message
    assert "raise the weights of mix" in caught.value.error.message


def test_repeated_rows_are_learnt_once(prepare: Prepare) -> None:
    content = lines(("a", "red"), ("b", "green"), ("a", "red"))
    examples = prepare({"a.jsonl": content}, deduplicate=True)
    assert [e.place for e in examples.train] == ["a.jsonl:1", "a.jsonl:2"]
    assert examples.facts.duplicates == 1


def test_whole_texts_leak_only_where_they_are_equal(prepare: Prepare) -> None:
    """They have no prompt to be told apart by."""
    examples = prepare(
        {"train.jsonl": lines(("a", "x"), ("b", "x")), "test.jsonl": lines(("b", "x"), ("c", "x"))},
        task="generation",
        template="{text}",
        test="test",
    )
    assert examples.facts.leaked == 1
    assert examples.findings.leaked == ["test.jsonl:1"]
