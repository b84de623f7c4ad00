"""A curve over optimiser steps, as inline SVG. Pure."""

from collections.abc import Sequence
from html import escape

from luthier_trainer.pages.axis import Axis, grid, scale, ticks, within

_WIDTH, _HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 10, 38
_DOTS = 40  # at most so many points are marked

# (name, steps, values)
Line = tuple[str, Sequence[int], Sequence[float]]


def figure(title: str, lines: Sequence[Line], unit: str = "") -> str:
    """A figure with a caption; empty where there is nothing to draw. Two lines at most."""
    lines = [line for line in lines if line[1]]
    if not lines:
        return ""
    steps = [step for _, found, _ in lines for step in found]
    values = [value for _, _, found in lines for value in found]
    marks = ticks(min(0.0, min(values)), max(values))
    x = Axis(min(steps), max(steps), _LEFT, _WIDTH - _RIGHT)
    y = Axis(marks[0], marks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        grid(marks, y, _LEFT, _WIDTH - _RIGHT, unit),
        scale(within(min(steps), max(steps)), x, _HEIGHT - _BOTTOM, "step", _WIDTH - _RIGHT),
    ]
    for style, (_, at, found) in zip("ab", lines, strict=False):
        points = [(x.place(s), y.place(v)) for s, v in zip(at, found, strict=True)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline class="{style}" points="{path}"/>')
        if len(points) <= _DOTS:
            parts += [
                f'<circle class="dot {style}" cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>'
                for px, py in points
            ]
    names = ", ".join(
        f'<span class="key {style}">{escape(name)}</span>'
        for style, (name, _, _) in zip("ab", lines, strict=False)
    )
    caption = escape(title) if len(lines) == 1 else f"{escape(title)}: {names}"
    return (
        f'<figure><figcaption>{caption}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )
