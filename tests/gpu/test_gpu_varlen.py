"""Attention by sequence on the card: torch's kernel against plain attention of each sequence, and a
step of a training that doesn't wait for the device."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from gpu.models import Models
from torch import Tensor
from unit.trainer.cells import CAUSAL, spec

from luthier_trainer.methods.apply import tune
from luthier_trainer.models.heads import Head
from luthier_trainer.models.load import BaseSource, load_tokenizer
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives import varlen
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.collate import joined
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.isolation import isolation
from luthier_trainer.objectives.tokens import Encoder, Tokens, compact

LENGTHS = (70, 1, 700, 33, 129)
LAYER: Any = SimpleNamespace(is_causal=True, training=True)


def items() -> list[Tokens]:
    return [compact([7] * (length - 1), [9], True) for length in LENGTHS]


def expected(tensors: list[Tensor], window: int | None) -> Tensor:
    found = []
    bounds = [0, *torch.tensor(LENGTHS).cumsum(0).tolist()]
    for begin, end in pairwise(bounds):
        query, key, value = (each[:, :, begin:end].float() for each in tensors)
        seen = torch.ones(end - begin, end - begin, dtype=torch.bool, device="cuda").tril()
        seen = seen.triu(1 - window) if window else seen
        found.append(
            F.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
        )
    return torch.cat(found, dim=2).transpose(1, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 64, 4096])
@pytest.mark.parametrize(("heads", "key_heads"), [(8, 8), (8, 2)])
@pytest.mark.parametrize("width", [64, 128, 256])
def test_the_kernel_keeps_sequences_apart(
    width: int, heads: int, key_heads: int, window: int | None, dtype: torch.dtype
) -> None:
    batch = {name: value.cuda() for name, value in joined(items()).items()}
    told = varlen.arguments(batch[varlen.BOUNDS], batch[varlen.PLACES])
    results = []
    for kernel in (True, False):
        generator = torch.Generator("cuda").manual_seed(0)
        tensors = [
            torch.randn(
                1, count, sum(LENGTHS), width, generator=generator, device="cuda", dtype=dtype
            ).requires_grad_()
            for count in (heads, key_heads, key_heads)
        ]
        if kernel:
            q, k, v = tensors
            with varlen.observed() as calls:
                found, _ = varlen.attention(LAYER, q, k, v, None, sliding_window=window, **told)
            assert [call.fused for call in calls] == [True]
        else:
            found = expected(tensors, window)
        weights = torch.linspace(-1, 1, found.numel(), device="cuda").view_as(found)
        torch.autograd.backward((found.float() * weights).sum())
        results.append([found, *(each.grad for each in tensors)])
    for ours, theirs in zip(*results, strict=True):
        assert ours is not None
        assert theirs is not None
        size = theirs.float().abs().max()
        assert (ours.float() - theirs.float()).abs().max() < 0.02 * size


def test_a_step_waits_for_nothing(models: Models) -> None:
    folder = models.folder("llama")
    source = BaseSource(folder, Head(CAUSAL), max(LENGTHS), 7)
    model = tune(spec("lora"), source, Precision("bf16")).model.train()
    found = isolation(model, torch.bfloat16)
    assert found.holds
    assert found.fused
    tokenizer = load_tokenizer(folder)
    objective = Causal(tokenizer, Encoder(tokenizer, 1024, True), 1024).without_padding()
    batch = objective.collate(items())
    count = torch.tensor(objective.count_targets(batch), device="cuda")
    batch = on_device(model, batch)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = objective.loss(model, batch, count)
        torch.autograd.backward(loss)

    step()  # what is done once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
