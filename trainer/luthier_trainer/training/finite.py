"""Stops a training whose loss or gradient is no number, before the weights are spoilt."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from luthier_trainer.errors import TrainerError, unsupported

# fp16's loss scale is halved each time a gradient overflows: from 65,536 to below 1/256.
_MOST_SKIPPED = 25
_SHOWN = 8


class FiniteCheck:
    """Collects the losses of an optimiser step's batches. `place`: of a row's index."""

    def __init__(self, place: Callable[[int], str], scaled: bool) -> None:
        self._place = place
        self._scaled = scaled
        self._losses: list[Tensor] = []
        self._rows: list[list[int]] = []
        self._skipped = 0

    def begin(self, rows: Sequence[list[int]]) -> None:
        """A step on batches of these rows begins."""
        self._rows, self._losses = list(rows), []

    def add(self, loss: Tensor) -> None:
        """The loss of the next batch."""
        self._losses.append(loss)

    def check(self, norm: Any, step: int) -> None:
        """Before the optimiser's step `step`, with the gradient's norm. Raises TrainerError
        (LossNotFinite, GradientNotFinite)."""
        values = torch.stack([loss.float().reshape(()) for loss in self._losses])
        norm = torch.as_tensor(norm, dtype=torch.float32, device=values.device)
        if bool(torch.isfinite(values.sum() + norm)):  # one look at the device a step
            self._skipped = 0
            return
        bad = [i for i, value in enumerate(values.tolist()) if not math.isfinite(value)]
        if bad:  # the forward pass has no scale that could be lowered
            rows = [row for index in bad for row in self._rows[index]]
            raise self._error("LossNotFinite", "training loss", float(values[bad[0]]), step, rows)
        if self._scaled and self._skipped < _MOST_SKIPPED:
            self._skipped += 1  # the loss scaler leaves this step out, and lowers its scale
            return
        rows = [row for batch in self._rows for row in batch]
        raise self._error("GradientNotFinite", "norm of the gradient", float(norm), step, rows)

    def _error(
        self, code: str, what: str, value: float, step: int, rows: Sequence[int]
    ) -> TrainerError:
        places = ", ".join(self._place(row) for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        return unsupported(
            code,
            f"the {what} is {value} at step {step}, in a batch of {places}{more}; lower "
            "training.learningRate, or set training.precision to fp32. If it is so from the "
            "first steps on, look at these rows",
            "training.learningRate",
        )
