"""The forms of examples by columns: rows that are right, and each mistake."""

from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import GOOD, Prepare, jsonl, preparer
from unit.trainer.support import MakeSpec

from luthier_trainer.data.examples import Chat, Completion, Examples, Labelled, Pair, Tagged, Turn
from luthier_trainer.errors import TrainerError


@pytest.fixture
def prepare(tmp_path: Path, make_spec: MakeSpec) -> Prepare:
    return preparer(tmp_path, make_spec)


FORMS: list[tuple[str, dict[str, str], dict[str, Any], Any]] = [
    (
        "generation",
        {"messages": "m"},
        {
            "m": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "2+2?", "name": "Ada"},
                {"role": "assistant", "content": "4"},
            ]
        },
        Chat(
            (Turn("system", "Be brief."), Turn("user", "2+2?"), Turn("assistant", "4")),
            "a.jsonl:1",
        ),
    ),
    (
        "generation",
        {"messages": "m"},
        {"m": '[{"role": "assistant", "content": "as text, of .csv"}]'},
        Chat((Turn("assistant", "as text, of .csv"),), "a.jsonl:1"),
    ),
    (
        "generation",
        {"prompt": "p", "completion": "c"},
        {"p": "2+2?", "c": 4},
        Completion("2+2?", "4", "4", "a.jsonl:1"),
    ),
    (
        "extraction",
        {"tokens": "t", "tags": "g"},
        {"t": ["Ada", "Lovelace", "in", "London"], "g": ["B-P", "L-P", "O", "U-L"]},
        Tagged(("Ada", "Lovelace", "in", "London"), ("B-P", "I-P", "O", "B-L"), "a.jsonl:1"),
    ),
    (
        "extraction",
        {"text": "t", "spans": "s"},
        {"t": "Ada, in London.", "s": [{"start": 8, "end": 14, "label": "L"}]},
        Tagged(("Ada", ",", "in", "London", "."), ("O", "O", "O", "B-L", "O"), "a.jsonl:1"),
    ),
    (
        "extraction",
        {"text": "t", "spans": "s"},
        # An accent of its own, vowel signs and a virama, a joiner, a sign with a mark.
        {
            "t": "Cafe\u0301s हिन्दी می\u200cخواهم!\u20e3a",
            "s": [{"start": 0, "end": 6, "label": "L"}, {"start": 7, "end": 13, "label": "M"}],
        },
        Tagged(
            ("Cafe\u0301s", "हिन्दी", "می\u200cخواهم", "!\u20e3", "a"),
            ("B-L", "B-M", "O", "O", "O"),
            "a.jsonl:1",
        ),
    ),
    (
        "similarity",
        {"first": "a", "second": "b", "label": "y"},
        {"a": "x", "b": "y", "y": "0.5"},
        Pair("x", "y", 0.5, "a.jsonl:1"),
    ),
]


@pytest.mark.parametrize(("task", "columns", "row", "expected"), FORMS)
def test_forms(
    prepare: Prepare, task: str, columns: dict[str, str], row: dict[str, Any], expected: Any
) -> None:
    assert prepare({"a.jsonl": jsonl(row)}, task=task, columns=columns).train == [expected]


@pytest.mark.parametrize(
    ("task", "columns", "row", "code"),
    [
        ("generation", {"messages": "m"}, {"m": []}, "InvalidMessages"),
        ("generation", {"messages": "m"}, {"m": [{"role": "user", "content": "x"}]}, "InvalidMess"),
        ("generation", {"messages": "m"}, {"m": [{"role": "bot", "content": "x"}]}, "InvalidMess"),
        ("extraction", {"tokens": "t", "tags": "g"}, {"t": ["a"], "g": ["I-P"]}, "InvalidTag"),
        ("extraction", {"tokens": "t", "tags": "g"}, {"t": ["a", "b"], "g": ["O"]}, "InvalidTag"),
        ("extraction", {"tokens": "t", "tags": "g"}, {"t": ["a"], "g": ["O"]}, "NoEntities"),
        (
            "similarity",
            {"first": "a", "second": "b", "label": "y"},
            {"a": "x", "b": "y", "y": 2},
            "InvalidScore",
        ),
        *(
            (
                "extraction",
                {"text": "t", "spans": "s"},
                {"t": text, "s": spans},
                "InvalidSpan",
            )
            for text, spans in (
                ("two words", [{"start": 1, "end": 3, "label": "L"}]),
                ("two words", [{"start": 4, "end": 99, "label": "L"}]),
                (
                    "two words",
                    [{"start": 0, "end": 3, "label": "L"}, {"start": 0, "end": 9, "label": "L"}],
                ),
                ("Cafe\u0301", [{"start": 0, "end": 4, "label": "L"}]),
            )
        ),
    ],
)
def test_mistakes_of_forms(
    prepare: Prepare, task: str, columns: dict[str, str], row: dict[str, Any], code: str
) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare({"a.jsonl": jsonl(row)}, task=task, columns=columns)
    assert caught.value.error.code.startswith(code)
    assert "a.jsonl:1" in caught.value.error.message or code == "NoEntities"


def test_classes_of_texts(prepare: Prepare) -> None:
    examples = prepare({"a.jsonl": GOOD}, columns={"text": "text", "label": "label"})
    assert examples.train[0] == Labelled("a tomato", "red", "a.jsonl:1")
    assert examples.completions == {}


def test_kinds_of_entities(prepare: Prepare) -> None:
    """Of train, all of them; of eval, none that train lacks."""

    def row(*tags: str) -> dict[str, Any]:
        return {"t": [f"w{number}" for number in range(len(tags))], "g": list(tags)}

    def check(test: dict[str, Any]) -> Examples:
        return prepare(
            {
                "train.jsonl": jsonl(row("B-PER", "I-PER", "O", "B-LOC"), row("U-LOC"), row("O")),
                "test.jsonl": jsonl(row("O"), test),
            },
            task="extraction",
            columns={"tokens": "t", "tags": "g"},
            test="test",
        )

    examples = check(row("O", "B-LOC"))
    assert examples.labels == ["LOC", "PER"]
    assert examples.findings.balance == {"train": {"LOC": 2, "PER": 1}, "test": {"LOC": 1}}
    with pytest.raises(TrainerError) as caught:
        check(row("B-LOC", "B-ORG"))
    error = caught.value.error
    assert (error.code, error.param) == ("LabelWithoutExamples", "dataset.test")
    assert "test.jsonl:2: the label 'ORG'" in error.message
    assert "LOC, PER" in error.message


def test_keys_of_messages_that_nothing_learns_from_are_told_once(prepare: Prepare) -> None:
    def row(**more: Any) -> dict[str, Any]:
        return {"m": [{"role": "assistant", "content": "4", **more}]}

    rows = jsonl(row(name=None, tool_calls=[]), row(name="Ada"), row(name="Bo", mood="good"))
    examples = prepare({"a.jsonl": rows}, task="generation", columns={"messages": "m"})
    (warning,) = [each for each in examples.warnings if "duplicates" not in each]
    assert warning.startswith("chats have name (2 rows), mood (1 row) (first: a.jsonl:2)")
    assert examples.findings.unread == {"name": 2, "mood": 1}
    assert examples.facts.unread == ["name (2 rows)", "mood (1 row)"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_half_of_a_surrogate_pair_in_a_message_is_refused(prepare: Prepare, name: str) -> None:
    """Also in a list that is written as JSON."""
    turn = rb'[{"role": "assistant", "content": "\ud83d"}]'
    cell = b'"' + turn.replace(b'"', b'""') + b'"'
    content = {"a.csv": b"m\n" + cell, "a.jsonl": b'{"m": ' + turn + b"}"}[name]
    with pytest.raises(TrainerError, match=r"a\.(csv:2|jsonl:1): 'm' has .*surrogate"):
        prepare({name: content}, task="generation", columns={"messages": "m"})


NEGATIVES = {"similarity": {"objective": "in_batch_negatives"}}


@pytest.mark.parametrize("in_memory_bytes", [0, 1000])
def test_negatives_are_of_pairs_that_are_alike(prepare: Prepare, in_memory_bytes: int) -> None:
    """In train all of them, of what is measured at least one."""

    def check(train: list[float], test: list[float], objective: Any = NEGATIVES) -> Examples:
        files = {
            f"{name}.jsonl": jsonl(*({"a": f"{name} {i}", "b": "x", "y": y} for i, y in rows))
            for name, rows in (("train", enumerate(train)), ("test", enumerate(test)))
        }
        return prepare(
            files,
            in_memory_bytes=in_memory_bytes,
            task="similarity",
            columns={"first": "a", "second": "b", "label": "y"},
            test="test",
            training=objective,
        )

    assert len(check([1, 1], [0, 1, 0.5]).test) == 3
    assert len(check([1, 0.5], [0], {}).train) == 2
    with pytest.raises(
        TrainerError, match=r"train.jsonl:2: the label is 0.5.*\(2 of 3\)"
    ) as caught:
        check([1, 0.5, 0], [1])
    assert caught.value.error.param == "dataset.columns.label"
    with pytest.raises(TrainerError, match="PairNotAlike: no row of test has the label 1"):
        check([1, 1], [0, 0.5])
