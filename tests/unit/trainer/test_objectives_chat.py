"""Conversations: what the loss counts, token by token."""

import resource
import time
from typing import Any

import pytest
from transformers import AutoTokenizer
from unit.trainer.objectives_support import CHATS, chat, tokenizer_of
from unit.trainer.tiny import tiny_folder

from luthier_trainer.data.examples import Chat, Turn
from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives import chattemplate
from luthier_trainer.objectives.chat import ChatEncoder

MARKED = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}\n{% else %}"
    "{{ m['content'] }}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
PICKY = "{% if messages[1:] %}{{ raise_exception('one\nquestion\t at a time') }}{% endif %}?"


def with_template(name: str, template: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder(name))
    tokenizer.chat_template = template
    return tokenizer


def learnt_texts(tokenizer: Any, item: Any) -> list[str]:
    """Each run of tokens that the loss counts."""
    runs: list[list[int]] = [[]]
    for target in item.targets:
        if target == -100:
            runs.append([])
        else:
            runs[-1].append(target)
    return [tokenizer.decode(run) for run in runs if run]


@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma3"])
def test_the_assistants_turns_are_learnt(name: str) -> None:
    tokenizer = tokenizer_of(name)
    for example, item in zip(CHATS, ChatEncoder(tokenizer, 256, False).encode(CHATS), strict=True):
        said = [t.content for t in example.turns if t.role == "assistant"]
        end = tokenizer.eos_token
        assert learnt_texts(tokenizer, item) == [f"{text}{end}\n" for text in said]
        messages = [{"role": t.role, "content": t.content} for t in example.turns]
        assert tokenizer.decode(list(item.ids)) == tokenizer.apply_chat_template(
            messages, tokenize=False
        )
        asked = tokenizer.apply_chat_template(
            messages[:-1], tokenize=False, add_generation_prompt=True
        )
        assert tokenizer.decode(item.question) == asked
        assert tokenizer.eos_token_id in item.completion


def test_marks_of_the_template() -> None:
    tokenizer = with_template("qwen2", MARKED)
    for example, item in zip(CHATS, ChatEncoder(tokenizer, 256, False).encode(CHATS), strict=True):
        messages = [{"role": t.role, "content": t.content} for t in example.turns]
        found = tokenizer.apply_chat_template(
            messages, return_dict=True, return_assistant_tokens_mask=True
        )
        # What follows the last answer is left out.
        count = len(item)
        assert list(item.ids) == found["input_ids"][:count]
        counted = [int(target != -100) for target in item.targets]
        assert counted == found["assistant_masks"][:count]
        assert not any(found["assistant_masks"][count:])
        assert item.completion[-1] == tokenizer.eos_token_id


def test_loss_on_all_turns() -> None:
    item = ChatEncoder(tokenizer_of("qwen2"), 256, True).encode(CHATS[1:2])[0]
    assert item.targets == item.ids
    assert tokenizer_of("qwen2").decode(item.question).endswith("<|assistant|>\n")


def test_an_end_that_the_template_lacks_is_learnt() -> None:
    tokenizer = with_template("llama", "{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    item = ChatEncoder(tokenizer, 64, False).encode([chat("a", "b")])[0]
    assert tokenizer.decode(item.completion) == "b\n</s>"


@pytest.mark.parametrize(
    ("template", "code"), [(None, "NoChatTemplate"), (PICKY, "ChatTemplateRefused")]
)
def test_refused(template: Any, code: str) -> None:
    tokenizer = with_template("qwen2", template)
    with pytest.raises(TrainerError) as caught:
        ChatEncoder(tokenizer, 64, False).encode([chat("a", "b", "c", "d")])
    assert caught.value.error.code == code
    assert caught.value.error.param == "dataset.columns.messages"


def test_a_refusal_is_in_the_templates_own_words() -> None:
    tokenizer = with_template("qwen2", PICKY)
    with pytest.raises(TrainerError, match=r"user, assistant: one question at a time$"):
        ChatEncoder(tokenizer, 64, False).encode([chat("a", "b")])


def test_turns_that_are_not_learnt_are_given() -> None:
    """Those with the weight 0: their tokens are in the text, and the loss leaves them out."""
    turns = list(CHATS[2].turns)
    turns[3] = Turn("assistant", "d", learnt=False)
    for tokenizer in (tokenizer_of("qwen2"), with_template("qwen2", MARKED)):
        [item] = ChatEncoder(tokenizer, 256, False).encode([Chat(tuple(turns), "x:1")])
        [whole] = ChatEncoder(tokenizer, 256, False).encode([CHATS[2]])
        assert item.ids == whole.ids
        said = [text.rstrip().removesuffix("<|im_end|>") for text in learnt_texts(tokenizer, item)]
        assert said == ["b", "f"]


def test_too_long_a_conversation_loses_whole_turns() -> None:
    """The oldest, and never what the system says."""
    tokenizer = tokenizer_of("qwen2")
    [whole] = ChatEncoder(tokenizer, 512, False).encode([CHATS[1]])
    assert (whole.cut, whole.turns_cut) == (0, 0)
    [item] = ChatEncoder(tokenizer, len(whole) - 1, False).encode([CHATS[1]])
    system, _, _, *rest = CHATS[1].turns
    [expected] = ChatEncoder(tokenizer, 512, False).encode([Chat((system, *rest), "x:1")])
    assert item.ids == expected.ids
    assert item.targets == expected.targets
    assert (item.cut, item.turns_cut) == (len(whole) - len(item), 2)
    text = tokenizer.decode(list(item.ids))
    assert text.startswith("<|system|>\nbe good<|im_end|>\n<|user|>\nand w1?")


def test_too_long_a_question_keeps_its_end() -> None:
    """Behind what the system says and the header of its turn."""
    tokenizer = tokenizer_of("qwen2")
    long = chat("be good", "w1 w2 w3 w4 " * 40 + "what?", "the answer", first="system")
    [item] = ChatEncoder(tokenizer, 60, False).encode([long])
    assert len(item) == 60
    text = tokenizer.decode(list(item.ids))
    assert text.startswith("<|system|>\nbe good<|im_end|>\n<|user|>\n")
    assert text.endswith("what?<|im_end|>\n<|assistant|>\nthe answer<|im_end|>\n")
    assert learnt_texts(tokenizer, item) == ["the answer<|im_end|>\n"]
    [answer] = ChatEncoder(tokenizer, 60, False).encode([chat("q", "w1 w2 w3 w4 " * 40)])
    assert len(answer) == 60
    assert tokenizer.decode(answer.question) == "<|user|>\nq<|im_end|>\n<|assistant|>\n"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x",
        "{% for a in range(99999) %}{{ 'abcdefgh' * 1000 }}{% endfor %}",
        "{{ 'a' * 10 ** 11 }}",
        "{{ 'a' | center(10 ** 11) }}",
        "{% set n = namespace(s='ab') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}"
        "{% endfor %}{{ n.s }}",
    ],
)
def test_a_template_that_takes_too_much_is_refused(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chattemplate, "_SECONDS", 0.3)
    monkeypatch.setattr(chattemplate, "_BYTES", 1 << 28)
    tokenizer = with_template("qwen2", template)
    began = time.process_time()
    with pytest.raises(TrainerError, match=r"takes more than|writes more than|OverflowError"):
        ChatEncoder(tokenizer, 64, False).encode([chat("a", "b")])
    assert time.process_time() - began < 30
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_template_for_tools_beside_another() -> None:
    """As tokenizers with several templates choose: that for tools where there are some."""
    plain = tokenizer_of("qwen2").chat_template
    tokenizer = with_template("qwen2", {"default": plain, "tool_use": "{{ tools }}" + plain})
    tool = {"type": "function", "function": {"name": "weather"}}
    encoder = ChatEncoder(tokenizer, 256, False)
    [item] = encoder.encode([CHATS[0]])
    [offered] = encoder.encode([Chat(CHATS[0].turns, "x:1", (tool,))])
    assert list(item.ids) == list(
        ChatEncoder(tokenizer_of("qwen2"), 256, False).encode(CHATS)[0].ids
    )
    assert "weather" in tokenizer.decode(offered.question)
