"""Whatever rows of conversations hold and whatever a chat template writes: an example, or an
error of ours."""

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from unit.trainer.chat_families import FAMILIES, family_tokenizer, new_tokenizer

from luthier_trainer.data import chats
from luthier_trainer.data.examples import Chat, Turn
from luthier_trainer.data.row import Row
from luthier_trainer.data.scan import keys
from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives.chat import ChatEncoder, apart
from luthier_trainer.objectives.tokens import IGNORED

_LENGTH = 96
_FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
roles = st.sampled_from(
    ["system", "developer", "user", "assistant", "tool", "function", "human", "gpt", "observation"]
)
contents = (
    texts | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts})) | values
)
calls = st.fixed_dictionaries({"name": texts, "arguments": texts | values})
messages = st.one_of(
    values,
    st.fixed_dictionaries(
        {"role": roles | values, "content": contents},
        optional={
            "tool_calls": st.lists(st.fixed_dictionaries({"function": calls | values})) | values,
            "function_call": calls | values,
            "weight": st.sampled_from([0, 1, "1", 2]) | values,
            "reasoning_content": values,
            "tool_call_id": values,
            "name": values,
        },
    ),
    st.fixed_dictionaries({"from": roles | st.just("function_call"), "value": contents}),
)
tools = st.lists(st.fixed_dictionaries({"function": calls}) | calls | values) | values


@_FEW
@given(st.lists(messages, max_size=5) | values, tools, values, values)
def test_rows(found: Any, offered: Any, system: Any, history: Any) -> None:
    columns = {"m": found, "tools": offered, "system": system, "history": history, "o": found}
    row = Row({name: value for name, value in columns.items() if value is not None}, "a.jsonl:1")
    names = {"instruction": "m", "output": "o", "prompt": "m", "completion": "o"}

    told: list[str] = []

    def of_messages() -> Chat:
        chat = chats.of_messages("m", row)
        chats.unread("m", row)
        return chat

    def of_prompt_and_completion() -> Chat | None:
        found = chats.of_prompt_and_completion(names, row)
        chats.unread_of_prompt_and_completion(names, row)
        return found

    for make in (
        of_messages,
        lambda: chats.of_instruction(names, row, asked="tools"),
        of_prompt_and_completion,
    ):
        if "m" not in row.values:
            continue
        try:
            chat = make()
        except TrainerError as error:
            told.append(error.error.message)
        else:
            if chat is None:  # texts
                continue
            assert chat.turns[-1].role == "assistant"
            assert chat.answers[-1] == len(chat.turns) - 1
            assert all(isinstance(part, str) for part in keys(chat))
    assert all("a.jsonl:1: " in message for message in told)


turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
        st.none() | st.sampled_from(["hi", "<think>\na\n</think>\n\nb", "<|im_end|>", " ", "a\n"]),
        st.dictionaries(
            st.sampled_from(["reasoning_content", "name", "tool_call_id"]),
            st.sampled_from(["abcdefgh1", "x", "<think>"]),
        ),
        st.booleans(),
    ),
    max_size=6,
)
pieces = st.sampled_from(
    [
        "{{ m.content }}",
        "{{ m.role }}",
        "{{ eos_token }}",
        "{{ bos_token }}",
        "<think>\n",
        "</think>",
        "[INST]",
        "{% if loop.last %}LAST{% endif %}",
        "{{ m.tool_calls }}",
        "{{ m['content'] | trim }}",
        "{{ strftime_now('%d %b %Y') }}",
        "{{ raise_exception('no ' + m.role) }}",
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% endif %}",
        "{{ messages[loop.index].content }}",
        "\n",
        " ",
    ]
)
templates = st.builds(
    lambda before, inside, behind, ask: (
        f"{''.join(before)}{{% for m in messages %}}{''.join(inside)}{{% endfor %}}"
        f"{''.join(behind)}{{% if add_generation_prompt %}}{''.join(ask)}{{% endif %}}"
    ),
    st.lists(st.sampled_from(["{{ bos_token }}", "<s>", "{{ messages[0].content }}"]), max_size=2),
    st.lists(pieces, min_size=1, max_size=5),
    st.lists(st.sampled_from(["{{ eos_token }}", "\n", "<think>\n"]), max_size=2),
    st.lists(
        st.sampled_from(["<|im_start|>assistant\n", "<think>\n", " ", "assistant:"]), max_size=2
    ),
)
_OWN = new_tokenizer("qwen3")


MARKS_ALONE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}"
)


@_FEW
@given(templates, turns, st.booleans())
@example(MARKS_ALONE, [], False)
def test_templates(template: str, found: list[Turn], learn_all: bool) -> None:
    _OWN.chat_template = template
    _check(ChatEncoder(_OWN, _LENGTH, learn_all), found)


@_FEW
@given(st.sampled_from(sorted(FAMILIES)), turns, st.booleans())
def test_templates_of_families(name: str, found: list[Turn], learn_all: bool) -> None:
    _check(ChatEncoder(family_tokenizer(name), _LENGTH, learn_all), found)


def _check(encoder: ChatEncoder, found: list[Turn]) -> None:
    chat = Chat((*found, Turn("assistant", "yes")), "a.jsonl:1")
    try:
        items = encoder.encode([chat] if encoder.learns_whole(chat) else apart(chat))
        encoder.unwritten(chat)
        gold = encoder.gold(chat)
    except TrainerError as error:
        refusal = error.error
    else:
        refusal = None
    if refusal:
        assert refusal.code == "ChatTemplateRefused"
        assert refusal.message.isprintable()
        return
    assert gold == "yes"
    for item in items:
        assert 0 < len(item) <= _LENGTH
        assert len(item.question) > 0
        assert any(target != IGNORED for target in item.targets) or item.cut
        assert item.learnt_count == sum(target != IGNORED for target in item.targets[1:])
    encoder.visible("<think>\nx\n</think>\n\nyes")
