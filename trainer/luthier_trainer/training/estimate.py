"""How much memory and time a training will need, from one batch of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier_api.optimizers import state_bytes_per_weight
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Batch, Item, Objective
from luthier_trainer.training import generators, memory

_FP32 = 4
# Tokens that are enough to learn the rest from: half a second, on either.
_SAMPLE_TOKENS_CPU, _SAMPLE_TOKENS_GPU = 256, 8192


@dataclass(frozen=True)
class Calibration:
    """One forward and backward pass. `activation_bytes`: the most that it held at once beside
    the weights and their gradients."""

    tokens: int
    activation_bytes: int
    seconds_per_token: float


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for. `fixed`: weights and the process as it stood before."""

    fixed: int
    gradients: int
    optimizer: int
    checkpoint: int  # a copy of the state, while it is uploaded
    activations_per_token: float

    def total(self, tokens: int) -> int:
        """The peak with batches of at most so many tokens."""
        held = self.fixed + self.gradients + self.optimizer + self.checkpoint
        return held + round(self.activations_per_token * tokens)


def memory_of(model: Any, optimizer: str, fixed: int, calibration: Calibration) -> Memory:
    """What a training holds. `fixed`: bytes in use before the calibration."""
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    state = round(state_bytes_per_weight(optimizer) * weights)
    # On a GPU the copy lies in the memory of the machine, of which there is more.
    copy = 0 if torch.cuda.is_available() else weights * _FP32 + state
    per_token = calibration.activation_bytes / calibration.tokens
    return Memory(fixed, weights * _FP32, state, copy, per_token)


def calibrate(
    model: Any,
    objective: Objective,
    items: Sequence[Item],
    precision: Precision,
    batch_size: int,
) -> Calibration:
    """Measure a batch of the longest items, then one of usual ones.

    Nothing stays of it: no gradients, and the random generators are as before.
    """
    enough = _SAMPLE_TOKENS_GPU if torch.cuda.is_available() else _SAMPLE_TOKENS_CPU
    known = lengths(items)
    order = sorted(range(len(items)), key=known.__getitem__, reverse=True)
    count = max(1, min(batch_size, enough // max(known[order[0]], 1)))
    longest = [items[index] for index in order[:count]]
    middle = max(0, len(order) // 2 - batch_size // 2)
    usual = [items[index] for index in order[middle : middle + batch_size]]
    while len(usual) > 1 and _tokens(usual) > enough:
        usual = usual[: len(usual) // 2]
    with generators.untouched():
        peak = _peak(model, objective, objective.collate(longest), precision)
        batch = objective.collate(usual)
        started = time.perf_counter()
        _pass(model, objective, batch, precision)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    model.zero_grad(set_to_none=True)
    return Calibration(
        tokens=count * max(map(len, longest)),
        activation_bytes=peak,
        seconds_per_token=seconds / max(objective.count_tokens(batch), 1),
    )


def _tokens(items: Sequence[Item]) -> int:
    return sum(map(len, items))


def _pass(model: Any, objective: Objective, batch: Batch, precision: Precision) -> None:
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    model.train()
    with torch.autocast(device.type, precision.dtype, enabled=precision.name != "fp32"):
        loss = objective.loss(model, batch, max(objective.count_targets(batch), 1))
    torch.autograd.backward(loss)


def _peak(model: Any, objective: Objective, batch: Batch, precision: Precision) -> int:
    """The most that a pass held at once beside gradients that are there before it."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    if torch.cuda.is_available():
        _pass(model, objective, batch, precision)  # its libraries allocate on first use
        before = memory.resident_bytes()
        memory.reset_peak()
        _pass(model, objective, batch, precision)
        return memory.peak_bytes() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        _pass(model, objective, batch, precision)
    assert profile.profiler
    events = profile.profiler.kineto_results.events()
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
