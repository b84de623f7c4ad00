"""The journal, and what was measured at the end, as trackers name it. Pure."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from luthier_api.finetunejob import Change, EvaluationResult
from luthier_trainer.tracking.tracker import Point
from luthier_trainer.training.tensorboard import tag

_OF_THE_ENTRY = ("step", "seconds")


def after(
    entries: Sequence[Mapping[str, Any]], step: int, began: float, most: int, *, newest: bool
) -> list[Point]:
    """The steps after `step`, with about `most` values; a step may have several entries.

    `newest`: the last one too, which may get more entries while the run goes on.
    """
    first = bisect_right(entries, step, key=lambda entry: int(entry["step"]))
    found: list[Point] = []
    count = 0
    for entry in islice(entries, first, None):
        at, time = int(entry["step"]), began + float(entry.get("seconds", 0.0))
        values = {tag(name): it for name, it in entry.items() if name not in _OF_THE_ENTRY}
        if found and found[-1].step == at:
            found[-1] = Point(at, found[-1].time, {**found[-1].values, **values})
        elif count >= most:
            return found
        else:
            found.append(Point(at, time, values))
        count += len(values)
    return found if newest else found[:-1]


def results_of(evaluation: EvaluationResult | None) -> dict[str, float]:
    """Base, tuned, and what was in use, on the same rows, with the intervals of the differences."""
    if evaluation is None:
        return {}
    sides = {"base": evaluation.base, "tuned": evaluation.tuned, "in_use": evaluation.in_use}
    found = {f"{side}/{name}": it for side, each in sides.items() for name, it in each.items()}
    for what, changes in (("change", evaluation.change), ("gain", evaluation.gain)):
        for name, change in changes.items():
            found |= _interval(f"{what}/{name}", change)
    return found


def _interval(name: str, change: Change) -> dict[str, float]:
    ends = {name: change.by, f"{name}_low": change.low, f"{name}_high": change.high}
    return {name: it for name, it in ends.items() if it is not None}
