"""Encoding: the end token is learnt, prompts equal those of use, what is cut."""

from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from unit.trainer import metaspace

from luthier_trainer.data.examples import Completion
from luthier_trainer.objectives.tokens import Encoder, begin_tokens, compact, learns_prompt


def example(prompt: str, completion: str) -> Completion:
    return Completion(prompt, completion, completion.strip(), "x:1")


def test_the_prompt_is_tokenised_as_in_use(tiny_tokenizer: Any) -> None:
    text = example("Text: a tomato\nColour:", " red")
    tokens = Encoder(tiny_tokenizer, 64, learn_prompt=False).encode([text])[0]
    assert list(tokens.prompt) == tiny_tokenizer("Text: a tomato\nColour:")["input_ids"]
    assert tokens.completion[-1] == tiny_tokenizer.eos_token_id
    assert tiny_tokenizer.decode(tokens.completion[:-1]) == " red"
    assert list(tokens.targets) == [-100] * len(tokens.prompt) + list(tokens.completion)


def test_loss_on_all(tiny_tokenizer: Any) -> None:
    tokens = Encoder(tiny_tokenizer, 64, learn_prompt=True).encode([example("a b", " c")])[0]
    assert tokens.targets == tokens.ids
    assert learns_prompt("Auto", "generation", from_template=True)
    assert not learns_prompt("Auto", "generation", from_template=False)
    assert not learns_prompt("Auto", "classification", from_template=True)
    assert learns_prompt("All", "classification", from_template=True)
    assert not learns_prompt("Completion", "generation", from_template=True)


@pytest.mark.parametrize(
    ("learn_prompt", "kept", "asked"),
    [
        (False, ([7, 8, 9], [1, 2, 0]), None),  # the start of the prompt goes
        (True, ([4, 5, 6, 7, 8, 9], []), [7, 8, 9]),  # the end of the text goes
    ],
)
def test_too_long(
    tiny_tokenizer: Any,
    learn_prompt: bool,
    kept: tuple[list[int], list[int]],
    asked: list[int] | None,
) -> None:
    encoder = Encoder(tiny_tokenizer, 6, learn_prompt)
    tokens = encoder.fit([4, 5, 6, 7, 8, 9], [1, 2, 0])
    assert tokens == compact(*kept, learn_prompt, asked=asked, cut=9 - sum(map(len, kept)))


def test_there_is_room_for_the_longest_label_behind_a_question(tiny_tokenizer: Any) -> None:
    tokens = Encoder(tiny_tokenizer, 6, False, longest_label=4).fit([4, 5, 6, 7], [1, 0])
    assert tokens == compact([4, 5, 6, 7], [1, 0], False, asked=[6, 7])


@pytest.mark.parametrize("learn_prompt", [False, True])
def test_a_long_answer_leaves_a_question(tiny_tokenizer: Any, learn_prompt: bool) -> None:
    tokens = Encoder(tiny_tokenizer, 6, learn_prompt).fit([4, 5, 6, 7], [*range(20), 0])
    assert tokens.question == [5, 6, 7]


def test_a_text_without_a_prompt_is_asked_for_from_the_end_token(tiny_tokenizer: Any) -> None:
    tokens = Encoder(tiny_tokenizer, 6, learn_prompt=True).fit([], [1, 2, 0])
    assert list(tokens.ids) == [1, 2, 0]
    assert tokens.question == [tiny_tokenizer.eos_token_id]


@pytest.mark.parametrize("begin", ["<s>", "<s> <|user|>"])
def test_what_every_text_begins_with_needs_no_name(begin: str) -> None:
    """GLM-4 puts two tokens before a text, and names none a bos_token."""
    tokenizer = metaspace.prepended.__wrapped__()
    named = [(name, tokenizer.convert_tokens_to_ids(name)) for name in begin.split()]
    post = TemplateProcessing(single=f"{begin} $A", pair="$A $B", special_tokens=named)
    tokenizer.backend_tokenizer.post_processor = post
    tokenizer.bos_token = None
    assert begin_tokens(tokenizer) == [number for _, number in named]
    encoder = Encoder(tokenizer, 64, learn_prompt=False)
    [item, written] = encoder.encode(
        [example("a tomato", " red"), example(begin.replace(" ", "") + "a tomato", " red")]
    )
    assert list(item.prompt) == tokenizer("a tomato")["input_ids"]
    assert written.prompt[: len(named)] == item.prompt[: len(named)]
    assert written.prompt[len(named)] not in dict(named).values()


def test_the_begin_token_stands_once(tiny_tokenizer: Any) -> None:
    class WithBegin:
        eos_token_id, bos_token_id = 0, 3

        def __call__(self, texts: Any, add_special_tokens: bool = True) -> dict[str, Any]:
            if isinstance(texts, str):
                return {"input_ids": [3, 9] if add_special_tokens else [9]}
            return {"input_ids": [[3, 9] if "<s>" in t else [9] for t in texts]}

    encoder = Encoder(WithBegin(), 64, learn_prompt=False)
    once, already = encoder.encode([example("x", "y"), example("<s>x", "y")])
    assert list(once.prompt) == list(already.prompt) == [3, 9]
