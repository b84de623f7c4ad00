"""Packed rows: the same loss, gradients and logits as one example a row."""

import random
from typing import Any

import pytest
import torch
from torch import nn
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
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.packing import isolates, pack, require_isolation
from luthier_trainer.objectives.tokens import Encoder


def objective_of(name: str, learn_prompt: bool = False) -> Causal:
    tokenizer = tokenizer_of(name)
    return Causal(tokenizer, Encoder(tokenizer, 64, learn_prompt), 64)


@pytest.mark.parametrize("learn_prompt", [False, True])
@pytest.mark.parametrize(
    ("name", "attention"),
    [
        *((name, "eager") for name in DECODERS),
        *((name, "sdpa") for name in DECODERS if name != "gemma2"),  # it has no such attention
    ],
)
def test_equals_unpacked(name: str, attention: str, learn_prompt: bool) -> None:
    objective = objective_of(name, learn_prompt)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    model.set_attn_implementation(attention)
    assert isolates(model)
    expected = learnt(objective, model, items, [[0], [1], [2], [3]])
    rows = [(items[0], items[3]), (items[2],), (items[1],)]  # of different lengths
    assert_same(model, learnt(objective, model, rows, [[0, 1, 2]]), expected)
    batch = objective.collate(rows)
    assert objective.count_tokens(batch) == sum(map(len, items))
    with torch.no_grad():
        packed = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits[0]
        alone = [
            model(input_ids=torch.tensor([list(item.ids)]), use_cache=False).logits[0]
            for item in rows[0]
        ]
    together = packed[: sum(map(len, rows[0]))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_weights_in_4_bits_that_compute_in_bf16_are_packed() -> None:
    """Their logits are in fp32, and yet no more exact."""
    assert isolates(tuned(source("llama"), "qlora", BF16).model)


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
