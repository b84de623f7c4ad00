"""What `auto` comes to, and what the training is expected to need."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from luthier_api.finetunejob import Estimate
from luthier_api.training import Training
from luthier_trainer.distributed.shards import shards_of
from luthier_trainer.errors import MEASURING_REMEDY, OUT_OF_MEMORY, unsupported
from luthier_trainer.log import log
from luthier_trainer.machine import memory
from luthier_trainer.machine.device import on_gpu
from luthier_trainer.machine.runtime import resident_bytes
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.choose import Batching
from luthier_trainer.objectives.firstfit import first_fit
from luthier_trainer.objectives.items import lengths as lengths_of
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.training.estimate import Calibration, Memory, calibrate, memory_of

# Larger batches are no faster there.
_LARGEST_ON_CPU, _LARGEST_ON_GPU = 32, 256
_USABLE = 0.9  # of the memory
# An epoch of few steps learns little, however much the memory holds.
_STEPS_AN_EPOCH = 50
_FEWEST_NEGATIVES = 8  # pairs to a batch, where each is told from the others
_GPU_WORKERS = 2


@dataclass(frozen=True)
class Resolved:
    """`notes`: what `auto`, and what was left out, came to, for people."""

    batch_size: int
    gradient_checkpointing: bool
    packed: bool
    workers: int
    estimate: Estimate
    notes: dict[str, str]

    @property
    def kept(self) -> dict[str, str]:
        """What shapes the result: a resumed run takes it from its checkpoint."""
        return {
            "batchSize": str(self.batch_size),
            "gradientCheckpointing": "on" if self.gradient_checkpointing else "off",
            "packing": "on" if self.packed else "off",
            # Which batches are of similar length: before, those of many rows were estimated.
            "lengths": "exact",
        }


def resolve(
    model: Any,
    objective: Objective,
    items: Sequence[Item],
    training: Training,
    precision: Precision,
    limit: int,
    *,
    batching: Batching = "padded",
    may_checkpoint: bool = True,
    kept: Mapping[str, str] | None = None,
    evaluation: int = 0,
    machine: int | None = None,
    processes: int = 1,
    agreed: Callable[[Any], Any] | None = None,
) -> Resolved:
    """Decide by a forward and backward pass of the longest rows, and leave the model as decided:
    its layers compute their activations again, or keep them.

    `batching`: how `objective` collates. `limit`: bytes that the training may use
    (memory.limit_bytes). `may_checkpoint`: whether the method can recompute activations. `kept`: of
    the checkpoint that is gone on from (snapshot.document["resolved"]). `evaluation`: bytes that
    measuring a batch of eval holds (evaluation.memory). `machine`: bytes of the machine's memory,
    where a GPU's is another one. `processes`: that train together, each on batches of its own.
    `agreed`: where they decide together, what the first one decides.
    Raises TrainerError (NoNegatives).
    """
    accumulated = training.gradient_accumulation_steps * processes
    agreed = agreed or (lambda decision: decision)
    wish = training.per_device_batch_size
    lengths = sorted(lengths_of(items), reverse=True)
    packed = batching == "packed"
    rows = _packed_rows(lengths, training.max_length) if packed else len(lengths)
    most = _most_by_rows(training, rows, accumulated)
    fixed = memory.used_bytes()

    def measure(checkpointing: bool) -> tuple[Calibration, Memory]:
        if checkpointing:
            # Lets gradients through frozen embeddings, by a hook: another one each time.
            model.activation_checkpointing_enable()
        found = calibrate(
            model, objective, items, precision, _first_guess(wish), padded=batching == "padded"
        )
        return found, memory_of(model, training, fixed, found, evaluation)

    def tokens(batch_size: int) -> int:
        """Of the largest batch, with its padding if it has some."""
        if packed:
            return batch_size * training.max_length
        if batching == "joined":
            return sum(lengths[:batch_size])
        return min(batch_size, len(lengths)) * lengths[0]

    def choose(needs: Memory) -> int:
        if kept:
            return int(kept["batchSize"])
        if wish != "auto":
            return wish
        found = _largest(lambda size: needs.total(tokens(size)) <= _USABLE * limit, most)
        return int(agreed(found))

    if training.gradient_checkpointing == "Auto":
        checkpointing = bool(kept and kept["gradientCheckpointing"] == "on")
    else:
        checkpointing = training.gradient_checkpointing == "Always"
    undecided = training.gradient_checkpointing == "Auto" and not kept and may_checkpoint
    try:
        calibration, needs = measure(checkpointing)
    except torch.OutOfMemoryError:  # of a GPU, by one row
        if not undecided or shards_of(model):
            raise
        undecided, checkpointing = False, True
        model.zero_grad(set_to_none=True)
        calibration, needs = measure(checkpointing)
    batch_size = choose(needs)
    if undecided and agreed(needs.total(tokens(batch_size)) > _USABLE * limit):
        checkpointing = True
        calibration, needs = measure(checkpointing)
        batch_size = choose(needs)

    _check_negatives(training, batch_size, len(lengths))
    total = needs.total(tokens(batch_size))
    if total > limit:
        learning = replace(needs, evaluation=0).total(tokens(batch_size))
        remedy = OUT_OF_MEMORY["FineTuneJob"][0] if learning > limit else MEASURING_REMEDY
        log(
            f"warning: the training may need {total / 1e9:.1f} GB and there are "
            f"{limit / 1e9:.1f} GB: {remedy}"
        )
    if needs.machine:
        _tell_machine(resident_bytes() + needs.machine, machine)
    steps = math.ceil(math.ceil(rows / batch_size) / accumulated)
    held = _held(lengths, steps)
    what = f"packed rows of up to {training.max_length:,} tokens" if packed else "rows"
    log(f"an epoch has {steps:,} steps of {batch_size} × {accumulated} {what}: {held} a step")
    examples = _examples(training, batch_size, len(lengths), rows, accumulated) / processes
    seconds = calibration.seconds_per_token * examples * sum(lengths) / len(lengths)
    workers = _workers(training.dataloader_workers)
    return Resolved(
        batch_size=batch_size,
        gradient_checkpointing=checkpointing,
        packed=packed,
        workers=workers,
        estimate=Estimate(
            memory_bytes=total,
            machine_memory_bytes=needs.machine or None,
            duration_seconds=round(seconds, 1),
        ),
        notes={
            "perDeviceBatchSize": str(batch_size),
            "gradientCheckpointing": "on" if checkpointing else "off",
            "packing": "on" if packed else "off",
            "padding": "on" if batching == "padded" else "off",
            "stepsPerEpoch": str(steps),
            "perStep": held,
            "dataloaderWorkers": str(workers),
        },
    )


def _tell_machine(needed: int, room: int | None) -> None:
    """Checkpoints of a GPU's state are copied into the machine's memory."""
    if room and needed > room:
        log(
            f"warning: checkpoints may need {needed / 1e9:.1f} GB of the pod's own memory, and "
            f"there are {room / 1e9:.1f} GB: use a pool with more memory, a method that trains "
            "fewer weights (lora) or an optimizer with a smaller state"
        )


def _check_negatives(training: Training, batch_size: int, rows: int) -> None:
    """in_batch_negatives learns nothing from one pair."""
    if not training.in_batch_negatives or min(batch_size, rows) > 1:
        return
    cause, remedy, param = (
        "perDeviceBatchSize auto came to 1, as the memory allows no more",
        "lower maxLength, or use a pool with more memory",
        "training.perDeviceBatchSize",
    )
    if rows == 1:
        cause, remedy, param = "train has one row", "add others", "dataset.train"
    raise unsupported(
        "NoNegatives",
        "in_batch_negatives compares a text with the others of its batch, and learns nothing from "
        f"one pair: {cause}; {remedy}, or set training.similarity.objective to cosine or "
        "contrastive",
        param,
    )


def _first_guess(wish: int | str) -> int:
    return wish if isinstance(wish, int) else _largest_sensible()


def _largest_sensible() -> int:
    return _LARGEST_ON_GPU if on_gpu() else _LARGEST_ON_CPU


def _packed_rows(lengths: Sequence[int], max_length: int) -> int:
    """How many rows the examples come to, the longest of which is first."""
    return int(first_fit(np.clip(lengths, 1, max_length), max_length).max()) + 1


def _most_by_rows(training: Training, rows: int, accumulated: int) -> int:
    """Rows of the largest batch that leaves an epoch enough optimiser steps, of so many batches."""
    most = rows // (_STEPS_AN_EPOCH * accumulated)
    if training.in_batch_negatives:
        most = max(most, min(rows, _FEWEST_NEGATIVES))
    return max(most, 1)


def _held(lengths: Sequence[int], steps: int) -> str:
    """What an optimiser step of an epoch holds, for people."""
    tokens, examples = sum(lengths) / steps, len(lengths) / steps
    return f"about {tokens:,.0f} tokens of {examples:,.3g} examples"


def _largest(fits: Any, most: int) -> int:
    """The largest power of two that fits, of at most `most`; 1 where none does."""
    size = 1
    while 2 * size <= min(_largest_sensible(), most) and fits(2 * size):
        size *= 2
    return size


def _examples(
    training: Training, batch_size: int, count: int, rows: int, accumulated: int
) -> float:
    """Examples learnt from, over all epochs. `rows`: what the `count` examples are packed into;
    `accumulated`: batches of a step."""
    if training.max_steps:
        return training.max_steps * accumulated * batch_size * count / rows
    assert training.epochs
    return math.ceil(training.epochs * count)


def _workers(wish: int | None) -> int:
    """Rows are tokens already: only a GPU is fast enough to wait for their batches."""
    if wish is not None:
        return wish
    if not on_gpu():
        return 0
    return min(_GPU_WORKERS, max(0, len(os.sched_getaffinity(0)) - 1))
