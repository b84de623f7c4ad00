"""The chat templates of well-known families: what is learnt behind a question is what the model
is asked, by its own apply_chat_template, and what it is to say then."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from unit.trainer.chat_families import FAMILIES, Family, family_tokenizer, new_tokenizer

from luthier_trainer.data.examples import Chat, Turn
from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives.chat import ChatEncoder, apart

NOW = datetime(2024, 7, 26, 12, tzinfo=UTC)
TODAY = {"date_string": "26 Jul 2024"}
ALL = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def encoder_of(family: Family, **options: Any) -> ChatEncoder:
    return ChatEncoder(family_tokenizer(family.name), 4096, False, NOW, **options)


def with_system(family: Family, *turns: Turn) -> tuple[Turn, ...]:
    return (Turn("system", "Be brief."), *turns) if family.system else turns


def said(*texts: str) -> tuple[Turn, ...]:
    return tuple(Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))


def asked_of(family: Family, chat: Chat, index: int) -> list[int]:
    """What a server asks the model with."""
    calls = [copy.deepcopy(turn.message) for turn in chat.turns[:index]]
    if family.name == "deepseek-r1":  # takes arguments as text
        for message in calls:
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    ids: list[int] = family_tokenizer(family.name).apply_chat_template(
        calls, tools=list(chat.tools) or None, add_generation_prompt=True, **TODAY
    )["input_ids"]
    return ids


def learnt(family: Family, chat: Chat) -> dict[int, str]:
    """Each answer as it is learnt: of the turn with that number, behind what is asked for it."""
    encoder, tokenizer = encoder_of(family), family_tokenizer(family.name)
    texts: dict[int, str] = {}
    chats = [chat] if encoder.learns_whole(chat) else apart(chat)
    for item, one in zip(encoder.encode(chats), chats, strict=True):
        spans = [*item.learnt, (len(item.prompt), len(item))]
        assert len(spans) == len(one.answers)
        for (begin, end), index in zip(spans, one.answers, strict=True):
            assert list(item.ids[:begin]) == asked_of(family, one, index)
            texts[index] = tokenizer.decode(item.ids[begin:end])
        assert item.question == asked_of(family, one, one.answers[-1])
        counted = [target != -100 for target in item.targets]
        assert counted == [any(a <= i < b for a, b in spans) for i in range(len(item))]
    assert list(texts) == chat.answers
    return texts


@ALL
@pytest.mark.parametrize("system", [False, True])
def test_one_answer(family: Family, system: bool) -> None:
    turns = said("What is the sky?", "It is blue.")
    chat = Chat(with_system(family, *turns) if system else turns, "x:1")
    [answer] = learnt(family, chat).values()
    assert answer == f"{family.lead}It is blue.{family.ends}"


@ALL
@pytest.mark.parametrize("system", [False, True])
def test_several_answers(family: Family, system: bool) -> None:
    """The earlier ones are learnt as if each were the last: with the block of thought that a
    template writes for the last alone, and behind the generation prompt."""
    turns = said("What is the sky?", "It is blue.", "And food?", "good", "w1?", "w2 w3")
    chat = Chat(with_system(family, *turns) if system else turns, "x:1")
    *earlier, last = learnt(family, chat).values()
    assert last == f"{family.lead}w2 w3{family.ends}"
    ends = family.ends
    if encoder_of(family).learns_whole(chat):
        ends = ends.removesuffix(family.end) or ends  # it is behind the last turn alone
    for answer, text in zip(earlier, ("It is blue.", "good"), strict=True):
        assert answer in (f"{family.lead}{text}{ends}", f"{family.lead}{text}{ends.rstrip()}")
    assert encoder_of(family).learns_whole(chat) == (
        family.whole or (family.name == "mistral" and not system)
    )


@pytest.mark.parametrize("name", [name for name, it in FAMILIES.items() if it.tools])
def test_tools_are_offered_and_called(name: str) -> None:
    family = FAMILIES[name]
    call = {
        "id": "abcdefgh1",
        "type": "function",
        "function": {"name": "weather", "arguments": {"city": "Graz"}},
    }
    answer = {"tool_call_id": "abcdefgh1"}
    turns = (
        Turn("user", "Weather?"),
        Turn("assistant", None, {"tool_calls": [call]}),
        Turn("tool", "sunny", answer),
        Turn("assistant", "Sunny."),
    )
    texts = learnt(family, Chat(turns, "x:1", (WEATHER,)))
    assert "weather" in texts[1]
    assert "Graz" in texts[1]
    assert family.end in texts[1]
    assert texts[3].startswith((f"{family.lead}Sunny.", "Sunny."))
    chat = Chat(turns[:2], "x:1", (WEATHER,))
    [first] = encoder_of(family).encode([chat])
    offered = "weather" in family_tokenizer(name).decode(first.question)
    assert encoder_of(family).unwritten(chat) == (set() if offered else {"tools"})
    assert offered == (name != "deepseek-r1")
    gold = encoder_of(family).gold(chat)
    assert "Graz" in gold
    assert "think" not in gold
    assert family.end not in gold


@pytest.mark.parametrize("name", [name for name, it in FAMILIES.items() if it.reasons])
@pytest.mark.parametrize("inside", [False, True])
def test_reasoning_is_learnt_and_not_shown(name: str, inside: bool) -> None:
    """As reasoning_content, or as <think> in the content."""
    family = FAMILIES[name]

    def thinking(thought: str, text: str) -> Turn:
        if inside:
            return Turn("assistant", f"<think>\n{thought}\n</think>\n\n{text}")
        return Turn("assistant", text, {"reasoning_content": thought})

    turns = (
        Turn("user", "Sky?"),
        thinking("I see it.", "Blue."),
        Turn("user", "And food?"),
        thinking("I taste it.", "Good."),
    )
    chat = Chat(turns, "x:1")
    opening = "" if family.lead.startswith("\n") else "<think>\n"
    assert list(learnt(family, chat).values()) == [
        f"{opening}I see it.\n</think>\n\nBlue.{family.ends}",
        f"{opening}I taste it.\n</think>\n\nGood.{family.ends}",
    ]
    encoder = encoder_of(family)
    assert encoder.gold(chat) == "Good."
    [item] = encoder.encode([chat])
    given = family_tokenizer(name).decode(list(item.completion), skip_special_tokens=True)
    assert encoder.visible(given) == "Good."
    assert encoder.visible("<think>\nand on and on") == ""


@ALL
def test_what_is_learnt_is_seen_as_what_the_row_says(family: Family) -> None:
    """An answer as the template writes it, and the row's own, compare equal."""
    encoder, tokenizer = encoder_of(family), family_tokenizer(family.name)
    for text in ("It is blue.", "a\n\nb.", "<b>bold</b>"):
        chat = Chat(said("What is the sky?", text), "x:1")
        [item] = encoder.encode([chat])
        given = tokenizer.decode(list(item.completion), skip_special_tokens=True)
        assert encoder.visible(given).strip() == encoder.gold(chat) == text


@ALL
def test_a_chat_that_the_assistant_begins(family: Family) -> None:
    """Both answers are learnt, or the template's own words say why not."""
    turns = (Turn("assistant", "How can I help?"), *said("Sky?", "Blue."))
    encoder, tokenizer = encoder_of(family), family_tokenizer(family.name)
    chat = Chat(turns, "x:1")
    if family.name in ("gemma2", "gemma3", "mistral"):
        with pytest.raises(TrainerError, match=r"roles must alternate user/assistant/user/") as it:
            encoder.encode([chat])
        assert "TemplateError" not in it.value.error.message
        return
    chats = [chat] if encoder.learns_whole(chat) else apart(chat)
    texts = []
    for item in encoder.encode(chats):
        spans = [*item.learnt, (len(item.prompt), len(item))]
        texts += [tokenizer.decode(item.ids[begin:end]) for begin, end in spans]
    assert len(texts) == 2
    assert "How can I help?" in texts[0]
    assert "Blue." in texts[1]
    assert texts[1].endswith(family.ends)


@ALL
def test_two_turns_of_one_role(family: Family) -> None:
    encoder = encoder_of(family)
    for turns in (
        (Turn("user", "Sky?"), *said("Or food?", "Blue.")),
        (*said("Sky?", "Blue."), Turn("assistant", "And wide.")),
    ):
        chat = Chat(turns, "x:1")
        if family.name in ("gemma2", "gemma3", "mistral"):
            with pytest.raises(TrainerError, match="roles must alternate"):
                encoder.encode([chat])
            continue
        chats = [chat] if encoder.learns_whole(chat) else apart(chat)
        items = encoder.encode(chats)
        assert sum(len(item.learnt) + 1 for item in items) == len(chat.answers)


def test_a_role_that_the_template_lacks() -> None:
    gemma = FAMILIES["gemma2"]
    with pytest.raises(TrainerError, match=r"x:1: .*system, user, assistant: System role not supp"):
        encoder_of(gemma).encode([Chat((Turn("system", "Be brief."), *said("a", "b")), "x:1")])
    qwen = FAMILIES["qwen2.5"]
    [item] = encoder_of(qwen).encode([Chat((Turn("developer", "Be brief."), *said("a", "b")), "x")])
    assert "system\nBe brief." in family_tokenizer("qwen2.5").decode(item.question)


def test_calls_that_the_template_does_not_write_are_refused() -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {}}}
    turns = (Turn("user", "Weather?"), Turn("assistant", None, {"tool_calls": [call]}))
    with pytest.raises(TrainerError, match=r"tool_calls.*dataset\.chatTemplate"):
        encoder_of(FAMILIES["phi4"]).encode([Chat(turns, "x:1")])


def test_the_date_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = new_tokenizer("llama3")
    chat = Chat(said("Sky?", "Blue."), "x:1")
    days = [datetime(2025, 1, day, tzinfo=UTC) for day in (3, 3, 14)]
    items = [ChatEncoder(tokenizer, 512, False, day).encode([chat])[0] for day in days]
    assert items[0].ids == items[1].ids != items[2].ids
    assert "Today Date: 03 Jan 2025\n" in tokenizer.decode(items[0].question)
    tokenizer.chat_template = (
        "{{ strftime_now('%-d.%m.%y %H:%M %A 100%%') }}\n{% for m in messages %}[{{ m.role }}]"
        "{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]"
        "{% endif %}"
    )
    moment = datetime(2025, 1, 3, 4, 5, tzinfo=UTC)
    [item] = ChatEncoder(tokenizer, 512, False, moment).encode([chat])
    assert tokenizer.decode(item.question).startswith("3.01.25 04:05 Friday 100%\n[user]Sky?")
