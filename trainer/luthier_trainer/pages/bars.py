"""Values of the candidates side by side, as inline SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from luthier_trainer.pages.axis import Axis, ticks
from luthier_trainer.pages.numbers import number

_WIDTH, _ROW, _BAR = 420, 30, 16
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 64, 6, 24


@dataclass(frozen=True)
class Bar:
    """`low` and `high`: the ends of an interval. `style`: "", or "chosen"."""

    name: str
    value: float
    style: str = ""
    low: float | None = None
    high: float | None = None


def bars(title: str, found: Sequence[Bar], unit: str = "") -> str:
    """A figure with a caption; empty where there is nothing to draw."""
    if not found:
        return ""
    height = _TOP + _ROW * len(found) + _BOTTOM
    ends = [end for bar in found for end in (bar.value, bar.low, bar.high) if end is not None]
    marks = ticks(min(0.0, *ends), max(ends), most=4)
    x = Axis(marks[0], marks[-1], _LEFT, _WIDTH - _RIGHT)
    parts = [_mark(mark, x, height, unit) for mark in marks]
    parts += [_bar(bar, number_, x, unit) for number_, bar in enumerate(found)]
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _mark(value: float, x: Axis, height: int, unit: str) -> str:
    place, below = x.place(value), height - _BOTTOM
    return (
        f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{below}"/>'
        f'<text x="{place:.1f}" y="{below + 16}" text-anchor="middle">{number(value, unit)}</text>'
    )


def _bar(bar: Bar, row: int, x: Axis, unit: str) -> str:
    middle = _TOP + _ROW * row + _ROW / 2
    start, end = sorted((x.place(0.0), x.place(bar.value)))
    style = f' class="{bar.style}"' if bar.style else ""
    whisker, right = "", end
    if bar.low is not None and bar.high is not None:
        low, high = x.place(bar.low), x.place(bar.high)
        whisker = f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}"/>'
        right = max(right, high)
    return (
        f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect{style} x="{start:.1f}" y="{middle - _BAR / 2}" width="{max(end - start, 1):.1f}" '
        f'height="{_BAR}" rx="2"/>{whisker}'
        f'<text x="{right + 6:.1f}" y="{middle + 4}">{number(bar.value, unit)}</text>'
    )
