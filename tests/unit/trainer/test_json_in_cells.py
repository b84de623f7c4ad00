"""Lists and objects that a cell of a table holds as JSON text."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.trainer.data_support import Prepare, bare_preparer, jsonl, parquet

from luthier_trainer.data.examples import Chat, Completion
from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")

MESSAGES = {"messages": "messages"}
USER = {"role": "user", "content": "Sky?"}
SAYS = {"role": "assistant", "content": "Blue."}
TWICE = '{"city": "Graz", "city": "Linz"}'
TOOL = {"type": "function", "function": {"name": "weather"}}
CALL = {"function": {"name": "weather", "arguments": TWICE}}


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return bare_preparer(tmp_path)


def table(**cells: str) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([cells.keys(), cells.values()])
    return text.getvalue().encode()


def refused(prepare: Prepare, name: str, content: bytes, **dataset: Any) -> str:
    with pytest.raises(TrainerError) as caught:
        prepare({name: content}, task="generation", **dataset)
    return caught.value.error.message


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            {"messages": '[{"role": "user", "role": "assistant", "content": "x"}]'},
            "2: 'messages': an object has the key 'role' twice; keep one",
        ),
        (
            {"messages": json.dumps([USER, SAYS]), "tools": '[{"name": "a", "name": "b"}]'},
            "2: 'tools': an object has the key 'name' twice; keep one",
        ),
        (
            {"messages": json.dumps([USER, {"role": "assistant", "tool_calls": [CALL]}])},
            "2: message 2 has an object with the key 'city' twice",
        ),
    ],
)
def test_a_key_twice_in_a_cell_is_refused(
    prepare: Prepare, cells: dict[str, str], words: str
) -> None:
    """As it is in a file of JSON: which value is meant isn't for a reader to guess."""
    message = refused(prepare, "a.csv", table(**cells), columns=MESSAGES)
    assert message.startswith(f"a.csv:{words}")
    message = refused(prepare, "a.parquet", parquet([cells]), columns=MESSAGES)
    assert message.startswith(f"a.parquet#1{words[1:]}")


def test_a_key_twice_in_a_map_of_parquet_is_refused(prepare: Prepare) -> None:
    """Where the column is needed."""
    kind = pa.map_(pa.string(), pa.string())
    maps = pa.array([[("a", "1")], [("a", "1"), ("a", "2")]], kind)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"facts": maps, "text": ["x", "y"]}), sink)
    content = sink.getvalue().to_pybytes()
    message = refused(prepare, "a.parquet", content, template="{facts}{text}")
    assert message.startswith("a.parquet#2: 'facts': an object has the key 'a' twice; keep one")
    assert "no column 'label'" in refused(prepare, "a.parquet", content, template="{text}{label}")


PROMPTED = {"prompt": "prompt", "completion": "completion"}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_prompt_and_completion_as_lists_of_messages(prepare: Prepare, name: str) -> None:
    """Written as JSON text, with tools, as columns.messages may be."""
    cells = {
        "prompt": json.dumps([USER, SAYS, USER]),
        "completion": f" {json.dumps([SAYS], indent=1)}",
        "tools": json.dumps([TOOL]),
    }
    content = table(**cells) if name == "a.csv" else parquet([cells])
    [chat] = prepare({name: content}, task="generation", columns=PROMPTED).train
    assert isinstance(chat, Chat)
    assert [turn.content for turn in chat.turns] == ["Sky?", "Blue.", "Sky?", "Blue."]
    assert chat.answers == [3]
    assert chat.tools == (TOOL,)


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "Ada", "role": "engineer"}]',
        '[{"from": "Graz", "to": "Linz", "value": 3}]',
        '[{"role": "user", "rights": ["read"]}]',
        '[{"role": "user", "content": "cut sho',
        "[{}]",
        "[{a}]",
    ],
)
def test_json_that_is_no_conversation_is_learnt_as_text(prepare: Prepare, text: str) -> None:
    """Such as what an extraction is to say."""
    content = jsonl({"prompt": "Who?", "completion": text})
    for form in ({"columns": PROMPTED}, {"template": "{prompt}{completion}"}):
        [row] = prepare({"a.jsonl": content}, task="generation", **form).train
        assert isinstance(row, Completion)
        assert row.label == text


def test_a_conversation_as_text_in_a_template_is_refused(prepare: Prepare) -> None:
    content = table(messages=json.dumps([USER, SAYS]))
    message = refused(prepare, "a.csv", content, template="A: {messages}")
    assert message.startswith("a.csv:2: 'messages' is a list of messages")
    assert "set columns.messages" in message


@pytest.mark.parametrize("column", ["messages", "prompt"])
def test_a_list_as_python_prints_it_is_told_so(prepare: Prepare, column: str) -> None:
    """As pandas writes a column of lists into .csv."""
    content = table(**{column: str([USER]), "completion": "Blue."})
    columns = MESSAGES if column == "messages" else PROMPTED
    message = refused(prepare, "a.csv", content, columns=columns)
    assert message.startswith(f"a.csv:2: {column!r} is a list as Python prints it")
    assert message.endswith("write it with json.dumps")


def test_what_nothing_learns_from_in_prompt_and_completion_is_told(prepare: Prepare) -> None:
    row = {
        "prompt": [{**USER, "name": "Ada"}],
        "completion": [{**SAYS, "annotations": [1]}, USER],
    }
    texts = {"prompt": "Sky?", "completion": [SAYS]}
    found = prepare({"a.jsonl": jsonl(row, texts)}, task="generation", columns=PROMPTED)
    assert found.findings.unread == {
        "annotations": 1,
        "name": 1,
        "a turn behind the last answer": 1,
    }


def test_tools_beside_prompt_and_completion_in_parquet(prepare: Prepare) -> None:
    row = {"prompt": [USER], "completion": [SAYS], "tools": [TOOL], "other": 1}
    for name, content in {"a.jsonl": jsonl(row), "a.parquet": parquet([row])}.items():
        [chat] = prepare({name: content}, task="generation", columns=PROMPTED).train
        assert isinstance(chat, Chat)
        assert chat.tools == (TOOL,)
