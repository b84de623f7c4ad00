"""How much memory and time a training will need, from one batch of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier_api.optimizers import state_bytes_per_weight
from luthier_api.training import Training
from luthier_trainer.device import on_gpu
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Batch, Item, Objective
from luthier_trainer.training import generators, memory
from luthier_trainer.training.activations import Kept, counted

_FP32 = 4
# Tokens that are enough to learn the rest from: a third of a second, on either.
_SAMPLE_TOKENS_CPU, _SAMPLE_TOKENS_GPU = 96, 8192
# On a CPU the time is taken of more, where these seconds are enough: small batches are slower.
_TIMED_TOKENS, _TIMED_SECONDS = 512, 0.4


@dataclass(frozen=True)
class Calibration:
    """What a forward and backward pass holds at once beside the weights and their gradients:
    `activation_bytes` with a batch of so many `tokens`, `copy_bytes` with any."""

    tokens: int
    activation_bytes: int
    copy_bytes: int
    seconds_per_token: float


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for. `fixed`: weights and the process as it stood before."""

    fixed: int
    gradients: int
    gradients_stay: bool  # while the next activations are made
    optimizer: int
    checkpoint: int  # a copy of the state, while it is uploaded
    copies: int  # of weights, in the arithmetic's type
    activations_per_token: float

    def total(self, tokens: int) -> int:
        """The peak with batches of at most so many tokens."""
        held = self.fixed + self.optimizer + self.checkpoint + self.copies
        activations = round(self.activations_per_token * tokens)
        if self.gradients_stay:
            return held + self.gradients + activations
        return held + max(self.gradients, activations)  # the ones come as the others go


def memory_of(model: Any, training: Training, fixed: int, calibration: Calibration) -> Memory:
    """What a training holds. `fixed`: bytes in use before the calibration."""
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    state = round(state_bytes_per_weight(training.optimizer) * weights)
    # On a GPU the copy lies in the memory of the machine, of which there is more.
    copy = 0 if on_gpu() else weights * _FP32 + state
    per_token = calibration.activation_bytes / calibration.tokens
    return Memory(
        fixed=fixed,
        gradients=weights * _FP32,
        gradients_stay=training.gradient_accumulation_steps > 1,
        optimizer=state,
        checkpoint=copy,
        copies=calibration.copy_bytes,
        activations_per_token=per_token * memory.heap_per_tensor(),
    )


def calibrate(
    model: Any,
    objective: Objective,
    items: Sequence[Item],
    precision: Precision,
    batch_size: int,
    *,
    padded: bool = True,
) -> Calibration:
    """Measure a forward and backward pass of the longest items. `padded`: whether `objective` pads
    them to the longest.

    Nothing stays of it: no gradients, and the random generators are as before.
    """
    enough = _SAMPLE_TOKENS_GPU if on_gpu() else _SAMPLE_TOKENS_CPU
    known = lengths(items)
    order = sorted(range(len(items)), key=known.__getitem__, reverse=True)
    count = max(1, enough // max(known[order[0]], 1))
    with generators.untouched():
        longest = _by_targets(objective, [items[index] for index in order[:batch_size]])
        if on_gpu():
            sample = _fitting(model, objective, longest, count, precision)
            kept, seconds_per_token = _measure(model, objective, sample, precision)
        else:
            sample = _spaced(longest, count)
            kept = _count(model, objective, sample, precision)
            seconds_per_token = _time(model, objective, sample, longest, precision)
    model.zero_grad(set_to_none=True)
    return Calibration(
        tokens=len(sample) * max(map(len, sample)) if padded else sum(map(len, sample)),
        activation_bytes=kept.growing,
        copy_bytes=kept.copies,
        seconds_per_token=seconds_per_token,
    )


def _by_targets(objective: Objective, items: Sequence[Item]) -> list[Item]:
    """A batch's items in the order of how many targets they have, as targets have logits."""
    return sorted(items, key=lambda item: objective.count_targets(objective.collate([item])))


def _spaced(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the ordered items that stand for all: evenly spaced."""
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _fitting(
    model: Any, objective: Objective, items: Sequence[Item], count: int, precision: Precision
) -> list[Item]:
    """A sample of `count`, or of as many as the GPU has memory for. Raises torch.OutOfMemoryError
    where it has too little for one."""
    while True:
        sample = _spaced(items, count)
        try:
            # Libraries allocate on first use.
            _measure(model, objective, sample, precision)
        except torch.OutOfMemoryError:
            if len(sample) == 1:
                raise
        else:
            return sample
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        count = len(sample) // 2


def _count(model: Any, objective: Objective, sample: Sequence[Item], precision: Precision) -> Kept:
    """What a pass on a CPU holds, counted."""
    with counted(model) as counter:
        _pass(model, objective, objective.collate(sample), precision)
    return counter.kept


def _time(
    model: Any,
    objective: Objective,
    sample: Sequence[Item],
    items: Sequence[Item],
    precision: Precision,
) -> float:
    """Seconds of a token on a CPU, in a pass of the sample that isn't the first, as that loads
    libraries; and of a larger sample of the items where that is soon done."""
    seconds, tokens = _pass(model, objective, objective.collate(sample), precision)
    times = min(_TIMED_SECONDS / seconds, _TIMED_TOKENS / tokens)
    larger = _spaced(items, int(times * len(sample)))
    if len(larger) >= 2 * len(sample):
        seconds, tokens = _pass(model, objective, objective.collate(larger), precision)
    return seconds / tokens


def _measure(
    model: Any, objective: Objective, sample: Sequence[Item], precision: Precision
) -> tuple[Kept, float]:
    """The most that a pass on a GPU holds beside gradients that are there before it, and its
    seconds by the token."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    before = memory.used_bytes()
    memory.reset_peak()
    seconds, tokens = _pass(model, objective, objective.collate(sample), precision)
    return Kept(memory.peak_bytes() - before, copies=0), seconds / tokens


def _pass(
    model: Any, objective: Objective, batch: Batch, precision: Precision
) -> tuple[float, int]:
    """Forward and backward; returns seconds and how many tokens it was of, at least one."""
    tokens = max(objective.count_tokens(batch), 1)
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    model.train()
    started = time.perf_counter()
    with torch.autocast(device.type, precision.dtype, enabled=precision.name != "fp32"):
        loss = objective.loss(model, batch, max(objective.count_targets(batch), 1))
    torch.autograd.backward(loss)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, tokens
