"""Conversations: what the loss counts, token by token."""

from typing import Any

import pytest
from transformers import AutoTokenizer
from unit.trainer.objectives_support import CHATS, chat, tokenizer_of
from unit.trainer.tiny import tiny_folder

from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives.chat import ChatEncoder

MARKED = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}\n{% else %}"
    "{{ m['content'] }}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LAST_ONLY = (
    "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}{{ m['content'] }};"
    "{% endif %}{% endfor %}"
)


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


def test_too_long_a_conversation_loses_its_start() -> None:
    encoder = ChatEncoder(tokenizer_of("qwen2"), 256, False)
    whole = encoder.encode([CHATS[1]])[0]
    assert whole.cut == 0
    short = ChatEncoder(tokenizer_of("qwen2"), len(whole) - 5, False)
    item = short.encode([CHATS[1]])[0]
    assert item.cut == 5
    assert list(item.ids) == [whole.ids[0], *whole.ids[6:]]
    assert list(item.targets[1:]) == list(whole.targets[6:])


@pytest.mark.parametrize(
    ("template", "code"), [(None, "NoChatTemplate"), (LAST_ONLY, "ChatTemplateRefused")]
)
def test_refused(template: Any, code: str) -> None:
    tokenizer = with_template("qwen2", template)
    with pytest.raises(TrainerError) as caught:
        ChatEncoder(tokenizer, 64, False).encode([chat("a", "b", "c", "d")])
    assert caught.value.error.code == code
    assert caught.value.error.param == "dataset.columns.messages"
