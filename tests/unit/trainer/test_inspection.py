"""What people are told of the rows' lengths is true of the rows, not of what is left of them."""

from collections.abc import Callable
from typing import Any

import pytest
from unit.trainer.objectives_support import (
    CHATS,
    COMPLETIONS,
    LABELLED,
    LABELS,
    PAIRS,
    TAGGED,
    tokenizer_of,
)

from luthier_api.finetunejob import DatasetFacts
from luthier_api.training import Similarity
from luthier_trainer.finetune import inspection
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import Encoder

SHORT, LONG = 6, 512
Make = Callable[[int], Any]


def causal(length: int, learn_prompt: bool) -> Causal:
    tokenizer = tokenizer_of("llama")
    return Causal(tokenizer, Encoder(tokenizer, length, learn_prompt), length)


def chats(length: int, learn_all: bool) -> Causal:
    tokenizer = tokenizer_of("qwen2")
    return Causal(tokenizer, ChatEncoder(tokenizer, length, learn_all), length)


OBJECTIVES: dict[str, tuple[Make, Any]] = {
    "completion": (lambda n: causal(n, False), COMPLETIONS),
    "text": (lambda n: causal(n, True), COMPLETIONS),
    "chat": (lambda n: chats(n, False), CHATS),
    "whole chat": (lambda n: chats(n, True), CHATS),
    "classes": (lambda n: Classifier(tokenizer_of("bert"), LABELS, n), LABELLED),
    "tags": (lambda n: Tagger(tokenizer_of("bert"), ["LOC", "PER"], n), TAGGED),
    "pairs": (lambda n: Pairs(tokenizer_of("bert"), n, Similarity()), PAIRS),
    "seq2seq": (lambda n: Seq2Seq(tokenizer_of("t5"), n), COMPLETIONS),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_lengths_are_those_before_the_cut(name: str) -> None:
    make, examples = OBJECTIVES[name]
    short, whole = make(SHORT), make(LONG).encode(examples)
    found = inspection.inspect(short, short.encode(examples))
    assert not any(item.cut for item in whole)
    assert found.lengths.tolist() == [len(item) for item in whole]
    assert found.truncated == sum(item.cut > 0 for item in short.encode(examples)) > 0
    facts = found.complete(DatasetFacts(train=len(examples)))
    assert facts.tokens_max == max(map(len, whole)) > SHORT
    assert facts.truncated_percent == round(100 * found.truncated / len(examples), 2)
