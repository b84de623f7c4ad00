"""Stops a training whose loss or gradient is no number, before the weights are spoilt."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from luthier_trainer.distributed.world import World
from luthier_trainer.errors import TrainerError, unsupported

# fp16's loss scale is halved each time a gradient overflows: from 65,536 to below 1/256.
_MOST_SKIPPED = 25
_SHOWN = 8


class NonFiniteCheck:
    """Collects the losses of an optimiser step's batches. `place`: of a row's index; `world`: the
    processes that share them."""

    def __init__(self, place: Callable[[int], str], scaled: bool, world: World) -> None:
        self._place = place
        self._world = world
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

    def check(self, loss: Tensor, norm: Tensor, step: int) -> None:
        """Before the optimiser's step `step`, with the loss and the norm of the gradient of all
        processes: so all of them end. Raises TrainerError (LossNotFinite, GradientNotFinite)."""
        if bool(torch.isfinite(loss + norm)):  # one look at the device a step
            self._skipped = 0
            return
        batches = [batch for part in self._world.gather(self._learnt()) for batch in part]
        bad = [(value, places) for value, places in batches if not math.isfinite(value)]
        if bad:  # the forward pass has no scale that could be lowered
            rows = [place for _, places in bad for place in places]
            raise self._error("LossNotFinite", "training loss", bad[0][0], step, rows)
        if self._scaled and self._skipped < _MOST_SKIPPED:
            self._skipped += 1  # the loss scaler leaves this step out, and lowers its scale
            return
        rows = [place for _, places in batches for place in places]
        raise self._error("GradientNotFinite", "norm of the gradient", float(norm), step, rows)

    def _learnt(self) -> list[tuple[float, list[str]]]:
        """(loss, places of its rows) of each batch of this process."""
        pairs = zip(self._losses, self._rows, strict=True)
        return [(float(loss), [self._place(row) for row in rows]) for loss, rows in pairs]

    def _error(
        self, code: str, what: str, value: float, step: int, rows: Sequence[str]
    ) -> TrainerError:
        places = ", ".join(rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        return unsupported(
            code,
            f"the {what} is {value} at step {step}, in a batch of {places}{more}; lower "
            "training.learningRate, or set training.precision to fp32. If it is so from the "
            "first steps on, look at these rows",
            "training.learningRate",
        )
