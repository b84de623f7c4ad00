"""The learning rate over the steps of a training, by the schedules of transformers."""

import math
from typing import Any

from torch.optim import Optimizer

from luthier_api.training import Training
from luthier_trainer.training.rate import rate_of

_POLYNOMIAL_END = 1e-7  # where polynomial ends by default; it refuses a lower learning rate


def make_schedule(optimizer: Optimizer, training: Training, steps: int) -> Any:
    """The schedule of a training of `steps` optimiser steps; warm-up is a share of them."""
    from transformers.optimization import get_scheduler

    return get_scheduler(
        training.scheduler,
        optimizer,
        num_warmup_steps=math.ceil(training.warmup_ratio * steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=schedule_options(training, steps),
    )


def follows_evaluations(training: Training) -> bool:
    """Whether the rate goes by the loss on eval, not by the step."""
    return training.scheduler in ("reduce_lr_on_plateau", "greedy")


def schedule_options(training: Training, steps: int) -> dict[str, Any]:
    """Keyword arguments of the schedule of a training of `steps` optimiser steps."""
    options = training.scheduler_options
    found: dict[str, Any] = {}
    if options and options.min_learning_rate is not None:
        found["min_lr"] = options.min_learning_rate
    if options and options.cycles is not None:
        found["num_cycles"] = options.cycles
    if options and options.power is not None:
        found["power"] = options.power
    if options and options.decay_ratio is not None:
        found["num_decay_steps"] = max(1, round(options.decay_ratio * steps))
    if training.scheduler == "polynomial" and rate_of(training) <= _POLYNOMIAL_END:
        found["lr_end"] = 0.0
    if training.scheduler == "greedy":
        found["min_lr"] = 0.0  # by default 0.001, to which it would raise a lower rate
    return found
