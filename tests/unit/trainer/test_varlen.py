"""Attention by sequence, against plain attention with a mask that keeps the sequences apart."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unit.trainer.cells import answers, batch, main_class, source, tuned
from unit.trainer.tiny import DECODERS

from luthier_trainer.objectives import varlen
from luthier_trainer.objectives.collate import joined
from luthier_trainer.objectives.tokens import compact

LENGTHS = (5, 1, 9, 3)
HEADS, KEY_HEADS, WIDTH = 4, 2, 8
BATCH = joined([compact([], [7] * length, True) for length in LENGTHS])
LAYER: Any = SimpleNamespace(is_causal=True, training=True)


def drawn() -> list[Tensor]:
    """query, key, value."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, sum(LENGTHS), WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def attend(tensors: list[Tensor], **settings: Any) -> Tensor:
    told: dict[str, Any] = varlen.arguments(BATCH[varlen.BOUNDS], BATCH[varlen.PLACES])
    q, k, v = tensors
    found, _ = varlen.attention(LAYER, q, k, v, None, **told, **settings)
    return found


def expected(
    tensors: list[Tensor],
    scaling: float = WIDTH**-0.5,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
) -> Tensor:
    query, key, value = tensors
    key, value = (each.repeat_interleave(HEADS // KEY_HEADS, dim=1) for each in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    if softcap:
        scores = softcap * (scores / softcap).tanh()
    bounds = [0, *torch.tensor(LENGTHS).cumsum(0).tolist()]
    seen = torch.zeros(sum(LENGTHS), sum(LENGTHS), dtype=torch.bool)
    for begin, end in pairwise(bounds):
        for at in range(begin, end):
            first = max(begin, at + 1 - sliding_window) if sliding_window else begin
            seen[at, first : at + 1] = True
    weights = scores.masked_fill(~seen, -torch.inf).exp()
    total = weights.sum(-1, keepdim=True)
    if s_aux is not None:
        total = total + s_aux.exp().view(1, -1, 1, 1)
    return (weights / total @ value).transpose(1, 2)


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scaling": 0.7},
        {"sliding_window": 4},
        {"sliding_window": 1},
        {"sliding_window": 9},
        {"softcap": 0.5},
        {"softcap": 0.5, "sliding_window": 3},
        {"s_aux": torch.tensor([0.5, -1.0, 2.0, 0.0])},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_equals_a_mask(
    settings: dict[str, Any], kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel:
        monkeypatch.setattr(varlen, "EAGER_ATTENTION_TOKENS", 0)
    results = []
    for function in (attend, expected):
        tensors = drawn()
        found = function(tensors, **settings)
        assert found.shape == (1, sum(LENGTHS), HEADS, WIDTH)
        torch.autograd.backward((found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum())
        results.append([found.detach(), *(each.grad for each in tensors)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [False, True])
def test_dropout_is_drawn(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel:
        monkeypatch.setattr(varlen, "EAGER_ATTENTION_TOKENS", 0)
    tensors = drawn()
    assert not torch.equal(attend(tensors, dropout=0.5), attend(tensors, dropout=0.5))


@pytest.mark.parametrize(
    ("settings", "fused"),
    [
        ({}, True),
        ({"sliding_window": 3}, True),
        ({"scaling": 0.7}, True),
        ({"dropout": 0.1}, False),
        ({"softcap": 0.5}, False),
        ({"s_aux": torch.zeros(HEADS, device="meta")}, False),
    ],
)
def test_what_goes_to_the_kernel(
    settings: dict[str, Any], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shapes alone: numbers come from a card (tests/gpu)."""
    monkeypatch.setattr(varlen, "_low_type", lambda *_: torch.bfloat16)
    q, k, v = (each.detach().to("meta", torch.bfloat16).requires_grad_() for each in drawn())
    told = varlen.arguments(BATCH[varlen.BOUNDS].to("meta"), BATCH[varlen.PLACES].to("meta"))
    with varlen.observed() as calls:
        found, _ = varlen.attention(LAYER, q, k, v, None, **told, **settings)
    assert [call.fused for call in calls] == [fused]
    assert found.shape == (1, sum(LENGTHS), HEADS, WIDTH)
    torch.autograd.backward(found.sum())
    for each in (q, k, v):
        assert each.grad is not None
        assert each.grad.shape == each.shape


@pytest.mark.parametrize(
    ("mask", "settings"),
    [
        (torch.zeros(1, 1, 18, 18), {}),
        (None, {"is_causal": False}),
        (None, {"position_bias": torch.zeros(1, HEADS, 18, 18)}),
        (None, {"cu_seq_lens_q": None}),
        (None, {"sequence_places": None}),
    ],
)
def test_what_it_cannot_do_is_refused(mask: Tensor | None, settings: dict[str, Any]) -> None:
    told = varlen.arguments(BATCH[varlen.BOUNDS], BATCH[varlen.PLACES])
    q, k, v = drawn()
    with pytest.raises(ValueError, match="attention"):
        varlen.attention(LAYER, q, k, v, mask, **{**told, **settings})


@pytest.mark.parametrize("name", DECODERS)
def test_a_model_gets_its_own_attention_back(name: str) -> None:
    model = tuned(source(name), "lora").model
    own = model.config._attn_implementation
    inputs = batch(name, main_class(name))
    expected = answers(model, inputs)
    for _ in range(2):
        assert varlen.attend_by_sequence(model)
        assert model.config._attn_implementation == varlen.NAME
        assert varlen.NAME not in model.config.to_json_string()  # nothing that would be saved
        with pytest.raises(ValueError, match="padded rows"):
            answers(model, inputs)
    varlen.attend_as_loaded(model)
    assert model.config._attn_implementation == own
    assert torch.equal(answers(model, inputs), expected)


def test_models_of_none_of_transformers_have_none_to_choose() -> None:
    assert not varlen.attend_by_sequence(nn.Linear(2, 2))
    varlen.attend_as_loaded(nn.Linear(2, 2))
