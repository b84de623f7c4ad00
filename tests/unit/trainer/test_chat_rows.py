"""Rows that are conversations, in every way in which people's data has them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.trainer.chat_families import family_tokenizer
from unit.trainer.data_support import Prepare, jsonl, preparer
from unit.trainer.objectives_support import tokenizer_of
from unit.trainer.support import MakeSpec

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Chat, Examples, Turn
from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.tokens import Encoder
from luthier_trainer.objectives.unfold import unfolded

MESSAGES = {"messages": "messages"}
CALL = {"name": "weather", "arguments": {"city": "Graz"}}
CALLED = {"type": "function", "function": CALL}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
QUESTION, ANSWER = Turn("user", "Sky?"), Turn("assistant", "Blue.")


@pytest.fixture
def prepare(tmp_path: Path, make_spec: MakeSpec) -> Prepare:
    return preparer(tmp_path, make_spec)


def read(prepare: Prepare, row: dict[str, Any], columns: dict[str, str] = MESSAGES) -> Chat:
    [chat] = prepare({"a.jsonl": jsonl(row)}, task="generation", columns=columns).train
    assert isinstance(chat, Chat)
    return chat


def messages(*found: Any, **row: Any) -> dict[str, Any]:
    return {"messages": list(found), **row}


USER = {"role": "user", "content": "Sky?"}
SAYS = {"role": "assistant", "content": "Blue."}


def test_openais_format(prepare: Prepare) -> None:
    """With tools, calls, null contents, parts of text, the role developer and weights."""
    function = CALL | {"arguments": json.dumps(CALL["arguments"])}
    row = messages(
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "text", "text": "Wea"}, {"text": "ther?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": "Rainy.", "weight": 0, "refusal": None},
        {"role": "user", "content": "Sure?", "weight": 0},
        {"role": "assistant", "content": "Sunny.", "weight": 1, "reasoning_content": "It says so."},
        tools=[TOOL],
        parallel_tool_calls=False,
    )
    chat = read(prepare, row)
    assert chat == Chat(
        (
            Turn("developer", "Be brief."),
            Turn("user", "Weather?"),
            Turn("assistant", None, {"tool_calls": [{"id": "c1", **CALLED}]}),
            Turn("tool", "sunny", {"tool_call_id": "c1"}),
            Turn("assistant", "Rainy.", learnt=False),
            Turn("user", "Sure?"),
            Turn("assistant", "Sunny.", {"reasoning_content": "It says so."}),
        ),
        "a.jsonl:1",
        (TOOL,),
    )
    assert chat.answers == [2, 6]
    assert not prepare({"a.jsonl": jsonl(row)}, task="generation", columns=MESSAGES).warnings


def test_openais_older_format(prepare: Prepare) -> None:
    row = messages(
        USER,
        {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "sunny"},
        SAYS,
        functions=[TOOL["function"]],
    )
    chat = read(prepare, row)
    assert chat.tools == (TOOL,)
    assert [turn.role for turn in chat.turns] == ["user", "assistant", "tool", "assistant"]
    assert chat.turns[2].more == {"name": "weather"}
    [call] = chat.turns[1].more["tool_calls"]
    assert call == {"type": "function", "function": {"name": "weather", "arguments": {}}}


def test_sharegpts_format(prepare: Prepare) -> None:
    row = {
        "system": "Be brief.",
        "tools": json.dumps([TOOL["function"]]),
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": "sunny"},
            {"from": "gpt", "value": "Sunny."},
            {"from": "human", "value": "Thanks."},
        ],
    }
    files = {"a.jsonl": jsonl(row)}
    examples = prepare(files, task="generation", columns={"messages": "conversations"})
    assert examples.train == [
        Chat(
            (
                Turn("system", "Be brief."),
                Turn("user", "Weather?"),
                Turn("assistant", None, {"tool_calls": [CALLED]}),
                Turn("tool", "sunny"),
                Turn("assistant", "Sunny."),
            ),
            "a.jsonl:1",
            (TOOL,),
        )
    ]
    [warning] = examples.warnings
    assert "a turn behind the last answer (1 row)" in warning


ALPACA = {"instruction": "instruction", "input": "input", "output": "output"}


@pytest.mark.parametrize("given", [{"input": ""}, {"input": None}, {}])
def test_alpacas_format(prepare: Prepare, given: dict[str, Any]) -> None:
    rows = jsonl(
        {"instruction": "Add.", "input": "2 2", "output": "4", "text": "other"},
        {"instruction": "Sky?", "output": "Blue.", **given},
        {"instruction": "And?", "output": "w", "system": "Hm.", "history": [["Sky?", "Blue."]]},
    )
    train = prepare({"a.jsonl": rows}, task="generation", columns=ALPACA).train
    assert train == [
        Chat((Turn("user", "Add.\n\n2 2"), Turn("assistant", "4")), "a.jsonl:1"),
        Chat((QUESTION, ANSWER), "a.jsonl:2"),
        Chat(
            (Turn("system", "Hm."), QUESTION, ANSWER, Turn("user", "And?"), Turn("assistant", "w")),
            "a.jsonl:3",
        ),
    ]


def test_prompt_and_completion_of_messages(prepare: Prepare) -> None:
    """Answers of the prompt are given, not learnt."""
    row = {"p": [USER, SAYS, {"role": "user", "content": "And?"}], "c": [SAYS | {"content": "w"}]}
    columns = {"prompt": "p", "completion": "c"}
    chat = read(prepare, row, columns)
    assert [turn.content for turn in chat.turns] == ["Sky?", "Blue.", "And?", "w"]
    assert chat.answers == [3]
    assert read(prepare, {"p": [USER], "c": "Blue."}, columns).turns[1] == ANSWER


def test_columns_of_parquet(prepare: Prepare, tmp_path: Path) -> None:
    """With tools and without, and objects that are filled up with nulls."""
    rows = [{"messages": [USER | {"tool_calls": None}, SAYS], "extra": 1}]
    for more in ({}, {"tools": json.dumps([TOOL])}):
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([{**row, **more} for row in rows]), path)
        files = {"a.parquet": path.read_bytes()}
        [chat] = prepare(files, task="generation", columns=MESSAGES).train
        assert chat == Chat((QUESTION, ANSWER), "a.parquet#1", (TOOL,) if more else ())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (messages(USER, SAYS | {"weight": 2}), "message 2 has another weight than 0 or 1"),
        (messages(USER, SAYS | {"weight": 0}), "has the weight 0, .*nothing is left to learn"),
        (messages({"role": "system", "content": "Be."}), "there is no answer"),
        (
            messages({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, SAYS),
            "message 1 has a part of the type image: only text is learnt",
        ),
        (
            messages({"role": "user", "content": [{"type": "input_audio"}]}, SAYS),
            "of the type audio: only text is learnt",
        ),
        (messages(USER, SAYS | {"tool_calls": [{}]}), "message 2 calls a tool without a name"),
        (
            messages(USER, SAYS | {"tool_calls": [{"function": CALL | {"arguments": "{"}}]}),
            "calls a tool with arguments that are no JSON object",
        ),
        (messages(USER, SAYS, tools=["weather"]), "'tools' is no list of functions"),
        (messages(USER, SAYS, tools=[{"type": "function"}]), "of 'tools' has no name"),
        (
            messages({"from": "nobody", "value": "x"}, SAYS),
            "message 1 has another role than system",
        ),
        (messages("Sky?", SAYS), "message 1 is no {role, content}"),
    ],
)
def test_mistakes(prepare: Prepare, row: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainerError, match=f"a.jsonl:1: .*{words}"):
        read(prepare, row)


def test_several_labels_of_a_row_are_refused(prepare: Prepare) -> None:
    row = {"text": "a tomato", "label": ["red", "round"]}
    for options in (
        {"columns": {"text": "text", "label": "label"}},
        {"template": "{text}\nColour: {label}"},
    ):
        with pytest.raises(
            TrainerError,
            match=r"a.jsonl:1: 'label' is a list of 2 .*one class.*columns.labels",
        ):
            prepare({"a.jsonl": jsonl(row)}, task="classification", **options)


def test_a_conversation_is_no_text_of_a_template(prepare: Prepare) -> None:
    with pytest.raises(TrainerError, match=r"a.jsonl:1: 'messages' is .*set columns\.messages"):
        prepare(
            {"a.jsonl": jsonl(messages(USER, SAYS))}, task="generation", template="A: {messages}"
        )


def test_rows_of_one_form(prepare: Prepare) -> None:
    """A text among conversations, and the other way round."""
    rows = [{"p": [USER], "c": [SAYS]}, {"p": "Sky?", "c": "Blue."}]
    tokenizer = tokenizer_of("qwen2")
    for order, encoder in (
        (rows, ChatEncoder(tokenizer, 64, False)),
        (rows[::-1], Encoder(tokenizer, 64, False)),
    ):
        files = {"a.jsonl": jsonl(*order)}
        train = prepare(files, task="generation", columns={"prompt": "p", "completion": "c"}).train
        with pytest.raises(TrainerError, match=r"MixedForms: a.jsonl:2"):
            encoder.encode(train)


def test_answers_one_by_one() -> None:
    """Of chats whose template writes earlier answers otherwise."""
    tokenizer = family_tokenizer("qwen3")
    objective = Causal(tokenizer, ChatEncoder(tokenizer, 256, False), 256)
    unlearnt = Turn("assistant", "Green.", learnt=False)
    train = [
        Chat((QUESTION, ANSWER), "a:1"),
        Chat((QUESTION, unlearnt, QUESTION, ANSWER, QUESTION, Turn("assistant", "w")), "a:2"),
    ]
    whole = Examples(train, [], [], [], "sha256:x", DatasetFacts(train=2), watched=train)
    found = unfolded(objective, whole)
    assert [len(chat.turns) for chat in found.train[0:3]] == [2, 4, 6]
    assert [chat.place for chat in found.train] == ["a:1", "a:2", "a:2"]
    assert [chat.answers for chat in found.train] == [[1], [3], [5]]
    assert found.train[-1].turns[-1].content == "w"
    with pytest.raises(IndexError):
        found.train[3]
    assert found.watched is train
    assert unfolded(objective, replace(whole, train=train[:1])).train == train[:1]


def test_what_the_template_leaves_out_is_told() -> None:
    tokenizer = tokenizer_of("qwen2")
    objective = Causal(tokenizer, ChatEncoder(tokenizer, 256, False), 256)
    answer = Turn("assistant", "Blue.", {"reasoning_content": "I look."})
    train = [Chat((QUESTION, answer), "a:1", (TOOL,))]
    found = unfolded(objective, Examples(train, [], [], [], "sha256:x", DatasetFacts(train=1)))
    assert found.warnings == [
        f"the chat template doesn't write {name}: nothing learns from it"
        for name in ("reasoning_content", "tools")
    ]


@pytest.mark.parametrize("columns", [MESSAGES, {"prompt": "asked", "completion": "messages"}])
def test_no_weight_of_0_where_all_is_learnt(prepare: Prepare, columns: dict[str, str]) -> None:
    """The answer would be learnt all the same."""
    row = messages(USER, SAYS | {"weight": 0}, USER, SAYS, asked="Hello.")
    other = messages(USER | {"weight": 0}, SAYS | {"weight": 1}, asked=[USER, SAYS, USER])
    files = {"a.jsonl": jsonl(other, row)}
    options = {"task": "generation", "columns": columns}
    assert len(prepare(files, **options, lossOn="Completion").train) == 2
    with pytest.raises(TrainerError) as caught:
        prepare(files, **options, lossOn="All")
    error = caught.value.error
    assert (error.code, error.param) == ("InvalidMessages", "dataset.lossOn")
    assert error.message == (
        "a.jsonl:2: message 2 has the weight 0, and lossOn All learns it all the same: remove the "
        "weight, or set lossOn to Auto"
    )
