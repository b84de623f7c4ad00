"""How much memory and time a training will need, from one batch of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from luthier_api.optimizers import state_bytes_per_weight
from luthier_api.training import Training
from luthier_trainer.distributed.shards import Shards, shards_of, trained_weights
from luthier_trainer.machine import memory
from luthier_trainer.machine.device import on_gpu
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Batch, Item, Objective
from luthier_trainer.objectives.outputlayer import kept_logits_bytes, logits_bytes
from luthier_trainer.training import generators
from luthier_trainer.training.activations import Kept, counted
from luthier_trainer.training.checkpointwriter import MOST_SNAPSHOTS
from luthier_trainer.training.gradients import drop_gradients
from luthier_trainer.training.rounding import step_bytes

# Tokens that are enough to learn the rest from: a third of a second, on either.
_SAMPLE_TOKENS_CPU, _SAMPLE_TOKENS_GPU = 96, 8192
# On a CPU the time is taken of more, where these seconds are enough: small batches are slower.
_TIMED_TOKENS, _TIMED_SECONDS = 512, 0.4


@dataclass(frozen=True)
class Calibration:
    """What a forward and backward pass holds at once beside the weights and their gradients, with
    a batch of so many `tokens` and `targets`: `at_output` bytes beside the logits when these are
    made, `in_layer` when a layer works, and `copy_bytes` with any batch. `logits`: bytes that so
    many targets have."""

    tokens: int
    targets: int
    at_output: int
    in_layer: int
    logits: Callable[[int], int]
    copy_bytes: int
    seconds_per_token: float

    def activations(self, tokens: int) -> int:
        """Bytes with a batch of so many tokens, copies of weights left out."""
        times = tokens / self.tokens
        logits = self.logits(round(times * self.targets))
        return round(max(times * self.at_output + logits, times * self.in_layer))


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for. `fixed`: weights and the process as it stood before."""

    fixed: int
    gradients: int
    gradients_stay: bool  # while the next activations are made
    optimizer: int
    summed: int  # beside gradients, where that of a weight is one of two places'
    step: int  # of the optimiser, a weight at a time, when activations are gone
    snapshots: int  # copies of the state, while they are uploaded
    machine: int  # those of a GPU's state, which are in the machine's memory
    together: int  # weights of a shared-out model, while they are whole
    copies: int  # of weights, in the arithmetic's type
    activations: Callable[[int], int]  # of so many tokens
    evaluation: int = 0  # when eval is measured, beside weights and state

    def total(self, tokens: int) -> int:
        """The peak with batches of at most so many tokens."""
        held = self.fixed + self.optimizer + self.snapshots + self.together
        activations = self.activations(tokens) + self.copies
        end = max(self.summed, self.step)
        if self.gradients_stay:
            learning = self.gradients + max(activations, end)
        else:  # the ones come as the others go
            learning = max(self.gradients + end, activations)
        return held + max(learning, self.evaluation)


def memory_of(
    model: Any, training: Training, fixed: int, calibration: Calibration, evaluation: int = 0
) -> Memory:
    """What a training holds. `fixed`: bytes in use before the calibration. `evaluation`: what
    measuring a batch of eval holds (evaluation.memory)."""
    trained: list[Tensor] = list(trained_weights(model).values())
    weights: int = sum(p.nbytes for p in trained)
    shards = shards_of(model)
    state = _state_bytes(model, training.optimizer)
    snapshots = MOST_SNAPSHOTS * (weights + state)
    heap = memory.heap_per_tensor()
    return Memory(
        fixed=fixed,
        gradients=weights,
        gradients_stay=training.gradient_accumulation_steps > 1,
        optimizer=state,
        summed=_summed_bytes(model),
        step=step_bytes(trained),
        snapshots=0 if on_gpu() else snapshots,
        machine=snapshots if on_gpu() else 0,
        together=shards.together if shards else 0,
        copies=calibration.copy_bytes,
        activations=lambda tokens: round(calibration.activations(tokens) * heap),
        evaluation=round(evaluation * heap),
    )


def _state_bytes(model: Any, optimizer: str) -> int:
    """What the optimiser remembers. States of embeddings stay in 32 bits (optimizers.py)."""
    trained = {id(p): p.numel() for p in trained_weights(model).values()}
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    wide = sum(numel for key, numel in trained.items() if key in embeddings)
    each = state_bytes_per_weight(optimizer)
    of_embeddings = state_bytes_per_weight(optimizer.replace("8bit", "32bit"))
    return int(each * (sum(trained.values()) - wide) + of_embeddings * wide)


def _summed_bytes(model: Any) -> int:
    """What the gradient of embeddings that are the output layer's too takes beside itself: that of
    either place, before their sum is there."""
    base = unwrapped(model)
    inputs, output = base.get_input_embeddings(), base.get_output_embeddings()
    if output is None or not output.weight.requires_grad or output.weight is not inputs.weight:
        return 0
    weight: Tensor = output.weight
    return 2 * weight.numel() * weight.itemsize


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
    them to the longest. Of a shared-out model all processes make the same passes, of which the
    first one's times count.

    Nothing stays of it: no gradients, and the random generators are as before.
    """
    enough = _SAMPLE_TOKENS_GPU if on_gpu() else _SAMPLE_TOKENS_CPU
    known = lengths(items)
    order = sorted(range(len(items)), key=known.__getitem__, reverse=True)
    count = max(1, enough // max(known[order[0]], 1))
    with generators.untouched():
        longest = _by_targets(objective, [items[index] for index in order[:batch_size]])
        if on_gpu():
            if shards_of(model):
                # What doesn't fit in one process would leave the others waiting.
                sample = _spaced(longest, 1)
                _measure(model, objective, sample, precision)
            else:
                sample = _fitting(model, objective, longest, count, precision)
            kept, seconds_per_token = _measure(model, objective, sample, precision)
        else:
            sample = _spaced(longest, count)
            kept = _count(model, objective, sample, precision)
            seconds_per_token = _time(model, objective, sample, longest, precision)
    drop_gradients(model)
    targets = round(objective.count_targets(objective.collate(sample)))
    kept = kept.without(logits_bytes(model, targets), kept_logits_bytes(model, targets))
    return Calibration(
        tokens=len(sample) * max(map(len, sample)) if padded else sum(map(len, sample)),
        targets=targets,
        at_output=kept.at_output,
        in_layer=kept.in_layer,
        logits=partial(logits_bytes, model),
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
    count = int(times * len(sample))
    if shards := shards_of(model):
        count = shards.world.share(count)
    larger = _spaced(items, count)
    if len(larger) >= 2 * len(sample):
        seconds, tokens = _pass(model, objective, objective.collate(larger), precision)
    return seconds / tokens


def _measure(
    model: Any, objective: Objective, sample: Sequence[Item], precision: Precision
) -> tuple[Kept, float]:
    """The most that a pass on a GPU holds beside gradients that are there before it, and its
    seconds by the token."""
    for parameter in () if shards_of(model) else trained_weights(model).values():
        parameter.grad = torch.zeros_like(parameter)
    before = memory.used_bytes()
    memory.reset_peak()
    seconds, tokens = _pass(model, objective, objective.collate(sample), precision)
    peak = memory.peak_bytes() - before - _together(shards_of(model))
    # Which of the two it was isn't seen: most likely a layer that computes all again.
    again = bool(getattr(model, "is_gradient_checkpointing", False))
    return Kept(0 if again else peak, peak if again else 0, 0, again), seconds / tokens


def _together(shards: Shards | None) -> int:
    """What a pass holds of a shared-out model: weights put together, and its own gradients."""
    if shards is None:
        return 0
    return shards.together + sum(p.nbytes for p in shards.weights.values())


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
