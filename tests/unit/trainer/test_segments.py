"""Tokenizers that put a blank before a text: what continues one gets none of its own."""

from itertools import chain
from typing import Any

import pytest
import torch
from unit.trainer.metaspace import FAMILIES, INST, TOKENS, t5
from unit.trainer.objectives_support import CHATS
from unit.trainer.test_objectives import spec_of
from unit.trainer.tiny import ARCHITECTURES, tiny_folder, tiny_model_of, tiny_tokenizer_of

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Completion, Examples
from luthier_trainer.models.architecture import describe
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.segments import Segments, plain_ids
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tokens import Encoder

TEXTS = [
    ("Text: a tomato\nColour:", " red"),
    ("Text: a tomato\nColour:", "red"),
    ("Text: a tomato\nColour:", "\nred"),
    ("Text: a tomato\nColour:\n", "red"),
    ("Text: a tomato\nColour:\n", " red"),
    ("<|user|>a tomato<|assistant|>", "red"),
    ("<|user|>a tomato<|assistant|>", " red"),
    ("<|user|>\na tomato<|end|>\n<|assistant|>\n", "red"),
    ("<s>[INST] a tomato [/INST]", " red </s>", "<s>[INST] sure? [/INST]", " yes"),
    ("", "red", " or", "", "ange"),
]


def decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize("segments", TEXTS)
@pytest.mark.parametrize("family", [*FAMILIES, "t5"])
def test_segments_together_are_the_text(family: str, segments: tuple[str, ...]) -> None:
    tokenizer = t5() if family == "t5" else FAMILIES[family]()
    found = Segments(tokenizer).encode([segments, ("red",), segments])
    assert list(chain(*found[0])) == plain_ids(tokenizer, ["".join(segments)])[0]
    assert found[1] == [plain_ids(tokenizer, ["red"])[0]]
    assert found[2] == found[0]


@pytest.mark.parametrize(("prompt", "completion"), [("Colour: ", "red"), ("Colour", ": red")])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_has_its_own_tokens_where_one_could_reach_over_its_end(
    family: str, prompt: str, completion: str
) -> None:
    tokenizer = FAMILIES[family]()
    first, second = Segments(tokenizer).encode([(prompt, completion)])[0]
    assert first == plain_ids(tokenizer, [prompt])[0]
    assert first + second != plain_ids(tokenizer, [prompt + completion])[0]
    assert decoded(tokenizer, first + second) == prompt + completion


@pytest.mark.parametrize("name", [*ARCHITECTURES, "never", "gemma"])
def test_tokenizers_that_put_no_blank_are_given_the_segments_as_they_are(name: str) -> None:
    tokenizer = FAMILIES[name]() if name in FAMILIES else tiny_tokenizer_of(name)
    found = Segments(tokenizer).encode(TEXTS)
    assert found == [plain_ids(tokenizer, text) for text in TEXTS]


@pytest.mark.parametrize("completion", [" red", "red", "\nred"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_example_is_its_text_and_its_prompt_that_of_use(family: str, completion: str) -> None:
    tokenizer, prompt = FAMILIES[family](), "Text: a tomato\nColour:"
    examples = [Completion(prompt, completion, "red", "x:1"), Completion("", "red", "red", "x:2")]
    encoder = Encoder(tokenizer, 64, learn_prompt=False)
    item, alone = encoder.encode(examples)
    assert list(item.prompt) == tokenizer(prompt)["input_ids"]
    assert list(item.ids) == [*tokenizer(prompt + completion)["input_ids"], tokenizer.eos_token_id]
    assert list(alone.ids) == [*tokenizer("red")["input_ids"], tokenizer.eos_token_id]
    assert encoder.answers(examples[:1]) == [list(item.completion[:-1])]


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_scored_as_the_text_goes_on(family: str) -> None:
    tokenizer = FAMILIES[family]()
    labels = {"green": "tomato", "red": "meadow", "wet": "ocean"}
    rows = [Completion(f"Text: {t}\nColour:\n", n, n, "x:1") for n, t in labels.items()]
    examples = Examples(rows, [], [], list(labels), "sha256:0", DatasetFacts.model_construct())
    architecture = describe(tiny_folder("llama"))
    objective: Any = choose(spec_of("classification"), examples, tokenizer, architecture)
    torch.manual_seed(1)
    model = tiny_model_of("llama", tokenizer).eval()
    with torch.inference_mode():
        found = objective.predict(model, objective.encode(rows), answers=True)
    expected = [
        max(labels, key=lambda label: likelihood(model, tokenizer, row.prompt, label))
        for row in rows
    ]
    assert [each.answer for each in found] == expected


def likelihood(model: Any, tokenizer: Any, prompt: str, completion: str) -> float:
    """Of the tokens of the whole text that follow those of the prompt."""
    ids = torch.tensor([tokenizer(prompt + completion)["input_ids"]])
    start = len(tokenizer(prompt)["input_ids"])
    with torch.inference_mode():
        logp = model(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
    return float(logp.gather(1, ids[0, start:, None]).sum())


@pytest.mark.parametrize("template", [INST, TOKENS], ids=["inst", "tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_is_its_text_in_every_turn(
    family: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = FAMILIES[family]()
    monkeypatch.setattr(tokenizer, "chat_template", template)
    chats = [chat for chat in CHATS if chat.turns[0].role == "user"]
    for chat, item in zip(chats, ChatEncoder(tokenizer, 256, False).encode(chats), strict=True):
        messages = [{"role": turn.role, "content": turn.content} for turn in chat.turns]
        whole = tokenizer.apply_chat_template(messages)["input_ids"]
        ended = [*whole, tokenizer.eos_token_id]  # TOKENS ends with another token
        assert list(item.ids) == (whole if template is INST else ended)
        asked = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)
        assert item.question == asked["input_ids"]


def test_what_a_decoder_of_its_own_learns_is_a_text_of_its_own() -> None:
    tokenizer = t5()
    objective = Seq2Seq(tokenizer, 64, labels={"red": " red", "deep blue": " deep blue"})
    item = objective.encode([Completion("Text: a tomato\nColour:", " red", "red", "x:1")])[0]
    assert list(item.source) == tokenizer("Text: a tomato\nColour:")["input_ids"]
    assert list(item.target) == tokenizer("red")["input_ids"]
    assert decoded(tokenizer, list(item.target[:-1])) == "red"
