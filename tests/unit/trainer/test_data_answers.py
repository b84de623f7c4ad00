"""Rows of answers: each form that they have, each mistake, and how they are split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import Prepare, jsonl, preparer
from unit.trainer.support import MakeSpec

from luthier_trainer.data.answers import as_generation, shared_prompt
from luthier_trainer.data.examples import Answers, Chat, Completion, Turn
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation.script import as_row

PAIRED = {"prompt": "p", "chosen": "c", "rejected": "r"}
IMPLICIT = {"chosen": "c", "rejected": "r"}
SINGLE = {"prompt": "p", "completion": "a", "label": "good"}
KTO = {"preference": {"objective": "kto"}}


@pytest.fixture
def prepare(tmp_path: Path, make_spec: MakeSpec) -> Prepare:
    return preparer(tmp_path, make_spec)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def text(prompt: str, answer: str) -> Completion:
    return Completion(prompt, answer, answer, "a.jsonl:1")


def chat(*turns: Turn) -> Chat:
    return Chat(turns, "a.jsonl:1")


ASKED = Turn("user", "2+2?")
FORMS: list[tuple[dict[str, str], dict[str, Any], Any, Any]] = [
    (PAIRED, {"p": "2+2?", "c": "4", "r": 5}, text("2+2?", "4"), text("2+2?", "5")),
    (
        PAIRED,
        {"p": [user("2+2?")], "c": [said("4")], "r": "5"},
        chat(ASKED, Turn("assistant", "4")),
        chat(ASKED, Turn("assistant", "5")),
    ),
    # As the hub's UltraFeedback has them: the prompt once more in the answers.
    (
        PAIRED,
        {"p": "2+2?", "c": [user("2+2?"), said("4")], "r": [user("2+2?"), said("5")]},
        chat(ASKED, Turn("assistant", "4")),
        chat(ASKED, Turn("assistant", "5")),
    ),
    (
        IMPLICIT,
        {
            "c": [user("2+2?"), said("4")],
            "r": [user("2+2?"), said("5"), user("sure?"), said("yes")],
            "system": "Be brief.",
        },
        chat(Turn("system", "Be brief."), ASKED, Turn("assistant", "4")),
        chat(
            Turn("system", "Be brief."),
            ASKED,
            Turn("assistant", "5"),
            Turn("user", "sure?"),
            Turn("assistant", "yes"),
        ),
    ),
    # What was answered alike before is part of the prompt.
    (
        IMPLICIT,
        {
            "c": [user("hi"), said("hello"), user("2+2?"), said("4")],
            "r": [user("hi"), said("hello"), user("2+2?"), said("5")],
        },
        chat(
            Turn("user", "hi"),
            Turn("assistant", "hello", learnt=False),
            ASKED,
            Turn("assistant", "4"),
        ),
        chat(
            Turn("user", "hi"),
            Turn("assistant", "hello", learnt=False),
            ASKED,
            Turn("assistant", "5"),
        ),
    ),
    (
        IMPLICIT,
        {
            "c": "\n\nHuman: 2+2?\n\nAssistant: It is 4",
            "r": "\n\nHuman: 2+2?\n\nAssistant: It is 5",
        },
        text("\n\nHuman: 2+2?\n\nAssistant:", " It is 4"),
        text("\n\nHuman: 2+2?\n\nAssistant:", " It is 5"),
    ),
    (SINGLE, {"p": "2+2?", "a": "4", "good": True}, text("2+2?", "4"), None),
    (SINGLE, {"p": "2+2?", "a": "5", "good": "False"}, None, text("2+2?", "5")),
    (SINGLE, {"p": "2+2?", "a": "5", "good": 0}, None, text("2+2?", "5")),
    (
        SINGLE,
        {"p": [user("2+2?")], "a": [said("4")], "good": "1"},
        chat(ASKED, Turn("assistant", "4")),
        None,
    ),
]


@pytest.mark.parametrize(("columns", "row", "chosen", "rejected"), FORMS)
def test_forms(
    prepare: Prepare, columns: dict[str, str], row: dict[str, Any], chosen: Any, rejected: Any
) -> None:
    found = prepare({"a.jsonl": jsonl(row)}, task="preference", columns=columns, training=KTO)
    [example] = found.train
    assert isinstance(example, Answers)
    for mine, its in ((example.chosen, chosen), (example.rejected, rejected)):
        if not isinstance(its, Chat):
            assert mine == its
            continue
        assert isinstance(mine, Chat)
        assert [(t.role, t.content) for t in mine.turns] == [(t.role, t.content) for t in its.turns]
        # What follows on the prompt is learnt, and of it what the assistant says.
        assert [mine.turns[i].content for i in mine.answers] == [
            its.turns[i].content for i in its.answers
        ]


@pytest.mark.parametrize(
    ("columns", "row", "code", "words"),
    [
        (PAIRED, {"p": "x", "c": "", "r": "y"}, "EmptyCompletion", "'c' is empty"),
        (PAIRED, {"p": "x", "c": "y"}, "UnknownColumn", "no column 'r'"),
        (PAIRED, {"p": "x", "c": "y", "r": None}, "MissingColumn", "'r' is null"),
        (PAIRED, {"p": "x", "c": [said("y")], "r": "z"}, "MixedForms", "both in one form"),
        (
            IMPLICIT,
            {"c": [user("x"), said("y")], "r": "z"},
            "InvalidMessages",
            "no list of messages",
        ),
        (IMPLICIT, {"c": "yes", "r": "no"}, "NoPrompt", "columns.prompt"),
        (
            IMPLICIT,
            {"c": [user("a"), said("y")], "r": [user("b"), said("z")]},
            "NoPrompt",
            "begin with different messages",
        ),
        (IMPLICIT, {"c": [user("a")], "r": [user("a"), said("z")]}, "InvalidMessages", "answer"),
        (
            SINGLE,
            {"p": "x", "a": "y", "good": "maybe"},
            "InvalidLabel",
            "true (a desirable answer)",
        ),
        (PAIRED, {"p": "x", "c": "y", "r": "y"}, "NothingPreferred", "the better and of"),
    ],
)
def test_wrong_rows_are_told_with_their_place(
    prepare: Prepare, columns: dict[str, str], row: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(TrainerError) as caught:
        prepare({"a.jsonl": jsonl(row)}, task="preference", columns=columns, training=KTO)
    error = caught.value.error
    assert error.code == code
    assert words in error.message
    assert error.message.startswith("a.jsonl")


def test_answers_of_which_none_is_better_are_told(prepare: Prepare) -> None:
    rows = [{"p": str(n), "c": "y", "r": "y" if n == 1 else "z"} for n in range(4)]
    found = prepare({"a.jsonl": jsonl(*rows)}, task="preference", columns=PAIRED)
    [warning] = found.warnings
    assert warning.startswith("1 of 4 train rows have the same answer as chosen and rejected")
    assert "a.jsonl:2" in warning


def test_answers_of_one_kind_are_told(prepare: Prepare) -> None:
    rows = [{"p": str(n), "a": "y", "good": True} for n in range(4)]
    found = prepare({"a.jsonl": jsonl(*rows)}, task="preference", columns=SINGLE, training=KTO)
    assert found.warnings == [
        "all train rows are desirable answers: there are none to tell them from"
    ]


@pytest.mark.parametrize("in_memory_bytes", [0, 10**9])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_prompt_is_on_one_side_of_a_split(
    prepare: Prepare, seed: int, in_memory_bytes: int
) -> None:
    """However many pairs of answers it has."""
    rows = [{"p": f"prompt {n % 10}", "c": f"y{n}", "r": f"z{n}"} for n in range(60)]
    found = prepare(
        {"a.jsonl": jsonl(*rows)},
        task="preference",
        columns=PAIRED,
        evalFraction=0.3,
        training={"seed": seed},
        in_memory_bytes=in_memory_bytes,
    )
    sides = [
        {part[i].any.prompt for i in range(len(part))}  # type: ignore[union-attr]
        for part in (found.train, found.eval)
    ]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [7, 3]
    assert len(found.train) + len(found.eval) == 60
    assert not found.warnings


@pytest.mark.parametrize(
    ("one", "other", "prompt"),
    [
        ("a b c", "a b d", "a b"),
        ("a bc", "a bd", "a"),
        ("a b", "a b c", "a"),
        ("a b", "a b", "a"),
        ("abc", "abd", ""),
        ("x\n\nAssistant: a\n\nHuman: y\n\nAssistant: b", "x\n\nAssistant: c", "x\n\nAssistant:"),
    ],
)
def test_what_two_texts_begin_with(one: str, other: str, prompt: str) -> None:
    assert shared_prompt(one, other) == shared_prompt(other, one) == prompt


def test_a_script_of_ones_own_gets_both_answers() -> None:
    row = Answers(text("2+2?", "4"), None, "a.jsonl:1")
    completion = {"prompt": "2+2?", "completion": "4", "label": "4"}
    assert as_row(row) == {"chosen": completion, "rejected": None}


def test_what_is_packed_is_asked_as_a_language_model(
    prepare: Prepare, make_spec: Callable[..., Any]
) -> None:
    rows = [{"p": str(n), "a": "y", "good": n % 2 == 0} for n in range(4)]
    found = prepare({"a.jsonl": jsonl(*rows)}, task="preference", columns=SINGLE, training=KTO)
    tuning = make_spec().fine_tuning
    told, asked = as_generation(
        tuning.model_copy(update={"task": "preference"}),
        found.__class__(**{**vars(found), "reported": found.train}),
    )
    assert told.task == "generation"
    assert told.evaluation.metrics == ["loss", "perplexity"]
    assert [each.prompt for each in asked.reported] == ["0", "2"]  # type: ignore[union-attr]
