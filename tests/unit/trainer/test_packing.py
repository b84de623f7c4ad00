"""Examples that are joined to one row, or packed: the same loss and gradients as padded ones."""

import random
from functools import partial
from typing import Any

import pytest
from torch import nn
from transformers import MambaConfig, MambaForCausalLM
from unit.trainer.cells import BF16, source, tuned
from unit.trainer.objectives_support import (
    COMPLETIONS,
    assert_same,
    learnt,
    model_of,
    tokenizer_of,
)
from unit.trainer.tiny import DECODERS

from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives import varlen
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.isolation import isolation, require_isolation
from luthier_trainer.objectives.packing import pack
from luthier_trainer.objectives.tokens import Encoder


def objective_of(name: str, learn_prompt: bool = False) -> Causal:
    tokenizer = tokenizer_of(name)
    return Causal(tokenizer, Encoder(tokenizer, 64, learn_prompt), 64)


@pytest.mark.parametrize("learn_prompt", [False, True])
@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize("name", DECODERS)
def test_equals_padded(
    name: str, kernel: bool, learn_prompt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kernel`: as long rows are attended to. Of Gemma, both are longer than the window."""
    if kernel:
        monkeypatch.setattr(varlen, "EAGER_ATTENTION_TOKENS", 0)
    objective = objective_of(name, learn_prompt)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    assert isolation(model).holds
    expected = learnt(objective, model, items, [[0, 1, 2, 3]])
    joined = objective.without_padding()
    assert_same(model, learnt(joined, model, items, [[0, 1, 2, 3]]), expected)
    rows = [(items[0], items[3]), (items[2],), (items[1],)]  # of different lengths
    assert_same(model, learnt(joined, model, rows, [[0, 1, 2]]), expected)
    batch = joined.collate(rows)
    assert joined.count_tokens(batch) == sum(map(len, items)) == batch["input_ids"].numel()


def test_weights_in_4_bits_that_compute_in_bf16_are_packed() -> None:
    """Their logits are in fp32, and yet no more exact."""
    assert isolation(tuned(source("llama"), "qlora", BF16).model).holds


class Leaking(nn.Module):
    """A model whose tokens see all that stand before them in the row."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 8)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids: Any, position_ids: Any = None, use_cache: bool = False) -> Any:
        class Output:
            logits = self.embedding(input_ids).cumsum(dim=1)

        return Output


def test_a_model_that_leaks_is_refused() -> None:
    with pytest.raises(TrainerError) as caught:
        require_isolation(Leaking())
    assert caught.value.error.code == "PackingNotSupported"
    assert caught.value.error.param == "training.packing"


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_stand_before_one_example(method: str) -> None:
    assert not isolation(tuned(source("llama"), method).model).holds


def test_what_has_state_is_padded() -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1))
    assert not isolation(model).holds


def test_attention_that_looks_back_is_padded() -> None:
    """Its window isn't told to its attention."""
    model = model_of("mistral", objective_of("mistral"))
    model.config.sliding_window = 4
    for layer in model.model.layers:
        plain = layer.self_attn.forward
        layer.self_attn.forward = partial(hidden_window, plain, model.config)
    assert not isolation(model).holds


def hidden_window(plain: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
    config.sliding_window, window = None, config.sliding_window
    try:
        return plain(*args, **kwargs)
    finally:
        config.sliding_window = window


def test_pack() -> None:
    lengths = [random.Random(1).randint(1, 60) for _ in range(7)] + list(range(1, 60))
    rows = pack(lengths, 64, seed=1, epoch=0)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 64 for row in rows)
    assert len(rows) <= 1.25 * sum(lengths) / 64
    assert rows == pack(lengths, 64, seed=1, epoch=0)
    assert rows != pack(lengths, 64, seed=1, epoch=1)
    assert rows != pack(lengths, 64, seed=2, epoch=0)
    assert pack([], 64, 1, 0) == []
    assert sorted(map(len, pack([100, 64, 1], 64, 1, 0))) == [1, 1, 1]
