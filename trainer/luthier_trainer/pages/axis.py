"""Axes of the pages' charts: round values, and values as places. Pure."""

import math
from collections.abc import Sequence

from luthier_trainer.pages.numbers import number

_STEPS = (1, 2, 2.5, 5, 10)


class Axis:
    """Values to places between `start` and `end`, in the units of the drawing."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._high = low, high if high > low else low + 1
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`: at most `most` steps between
    them. `whole`: no fractions."""
    high = high if high > low else low + 1
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    for factor in _STEPS:
        step = factor * size
        if whole:
            step = max(1.0, math.ceil(step))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [round(i * step, 12) for i in range(first, last + 1)]


def within(low: float, high: float) -> list[float]:
    """Round whole numbers from `low` to `high`, both included where they are round."""
    return [tick for tick in ticks(low, high, whole=True) if low <= tick <= high] or [low]


def grid(values: Sequence[float], y: Axis, left: float, right: float, unit: str = "") -> str:
    """Lines across the chart, each with its value at its left."""
    return "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y.place(value):.1f}" '
        f'y2="{y.place(value):.1f}"/><text x="{left - 6}" y="{y.place(value) + 4:.1f}" '
        f'text-anchor="end">{number(value, unit)}</text>'
        for value in values
    )


def scale(values: Sequence[float], x: Axis, below: float, name: str, right: float) -> str:
    """Values below the chart, and under them, at the right, what they count."""
    numbers = "".join(
        f'<text x="{x.place(value):.1f}" y="{below + 16:.1f}" text-anchor="middle">'
        f"{value:,.0f}</text>"
        for value in values
    )
    return f'{numbers}<text x="{right}" y="{below + 32:.1f}" text-anchor="end">{name}</text>'
