"""ask.json: how a model is asked, with one row of the data and no more of it."""

import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from unit.trainer import metaspace

from luthier_api.finetuning import FineTuning
from luthier_trainer.data.examples import Chat, Completion, Turn
from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.objectives import chattemplate
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.ends import turn_end
from luthier_trainer.objectives.tokens import Encoder
from luthier_trainer.pages.howto import messages_of, prompt_of, section
from luthier_trainer.published import ask as asking
from luthier_trainer.published.ask import MOST_PROMPT, Ask


def tuning(**fields: Any) -> FineTuning:
    document = {
        "model": {"uri": "s3://b/m"},
        "task": "classification",
        "dataset": {"uri": "s3://b/d", "template": "Text: {text}\\nColour: {label}"},
        "method": {"type": "lora"},
        "training": {"maxSteps": 1},
        **fields,
    }
    return FineTuning.model_validate(document)


def row(text: str, said: str = "red") -> tuple[Completion, Answered]:
    prompt = f"Text: {text}\nColour:"
    return Completion(prompt, " red", "red", "x:1"), Answered(prompt, "red", "blue", said)


@dataclass(frozen=True)
class Item:
    cut: int = 0


def described(*rows: tuple[Completion, Answered], cut: int = 0) -> Ask:
    tokenizer = metaspace.prepended()
    objective = Causal(tokenizer, Encoder(tokenizer, 64, learn_prompt=False), 64)
    examples, answers = [it[0] for it in rows], [it[1] for it in rows]
    items = [Item(cut if not index else 0) for index in range(len(rows))]
    first = row("any")[0]
    return asking.describe(tuning(), objective, tokenizer, examples, items, answers, first, [2])


def test_it_has_the_template_its_columns_and_one_row() -> None:
    found = described(row("a"), row("b"))
    assert (found.form, found.columns, found.answer_column) == ("template", ["text"], "label")
    assert (found.choices, found.begin) == (["red"], [1])
    assert [(stop.id, stop.text) for stop in found.stop] == [(2, "</s>")]
    assert found.row
    assert (found.row.prompt, found.row.answer) == ("Text: a\nColour:", "red")
    assert "Text: b" not in json.dumps(found.to_json())
    assert asking.parse(json.dumps(found.to_json()).encode()) == found


def test_a_row_that_was_cut_or_is_long_is_looked_over_or_shown_without_its_answer() -> None:
    assert (described(row("a"), row("b"), cut=3).row or row).prompt == "Text: b\nColour:"  # type: ignore[union-attr]
    long = "w " * MOST_PROMPT
    assert "Text: b" in prompt_of(described(row(long), row("b")))
    alone = described(row(long)).row
    assert alone
    assert (len(alone.prompt), alone.answer) == (MOST_PROMPT, None)
    assert "cut:" in "".join(section(described(row(long))))


def test_without_rows_programs_show_the_template() -> None:
    assert prompt_of(described()) == "Text: {text}\nColour:"
    assert prompt_of(None) == "Once upon a time"


@pytest.mark.parametrize("template", [metaspace.INST, metaspace.TOKENS])
def test_a_chat_is_told_as_messages_that_its_template_writes(template: str) -> None:
    tokenizer = metaspace.prepended.__wrapped__()
    tokenizer.chat_template = template
    encoder = ChatEncoder(tokenizer, 128, False)
    objective = Causal(tokenizer, encoder, 128)
    chat = Chat((Turn("user", "w7 meadow"), Turn("assistant", "red")), "x:1")
    found = asking.describe(
        tuning(task="generation", dataset={"uri": "s3://b/d", "columns": {"messages": "m"}}),
        objective,
        tokenizer,
        [chat],
        objective.encode([chat]),
        [Answered("", "red", "blue", "red")],
        chat,
        [2],
    )
    assert found.row
    asked = list(objective.encode([chat])[0].question)
    assert tokenizer(found.row.prompt, add_special_tokens=False)["input_ids"] == asked
    assert messages_of(found) in (None, [{"role": "user", "content": "w7 meadow"}])


_LOOPS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
_MEMORY = "{% set a = 'x' * 20000000000 %}"
_TEXT = "{{ 'x' * 40000 }}" * 1000


@pytest.mark.parametrize("hostile", [_LOOPS, _MEMORY, _TEXT])
def test_a_template_that_nothing_has_judged_runs_in_bounds(
    hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data are no chats, or shorter ones: neither the tokens that end an answer nor the row
    that is shown wait for it, and it isn't run before every batch."""
    monkeypatch.setattr(chattemplate, "_SECONDS", 0.5)
    tokenizer = metaspace.prepended.__wrapped__()
    tokenizer.chat_template = metaspace.TOKENS
    chat = Chat((Turn("user", "w7 meadow"), Turn("assistant", "red")), "x:1")
    objective = Causal(tokenizer, ChatEncoder(tokenizer, 128, False), 128)
    items = objective.encode([chat])
    tokenizer.chat_template = metaspace.TOKENS + hostile
    ran: list[str] = []
    run = chattemplate.run
    monkeypatch.setattr(chattemplate, "run", lambda *a, **k: ran.append("") or run(*a, **k))
    started = time.process_time()
    for _ in range(3):
        assert turn_end(tokenizer) is None
    assert len(ran) == 1
    said = [Answered("", "red", "blue", "red")]
    found = asking.describe(tuning(), objective, tokenizer, [chat], items, said, chat, [2])
    assert time.process_time() - started < 30
    assert found.row
    assert found.row.messages is None


@pytest.mark.parametrize(
    "data",
    [None, b"", b"[]", b'{"form": "x"}', b"[" * 100_000, b'{"a":"' + b"a" * 300_000 + b'"}'],
)
def test_what_is_none_is_none(data: bytes | None) -> None:
    assert asking.parse(data) is None
