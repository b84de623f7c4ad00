"""report/search.html: a search on one page, which needs nothing but itself. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from luthier_api.search import Search
from luthier_api.searchspace import Value, written
from luthier_trainer.pages.axis import Axis, grid, scale, ticks, within
from luthier_trainer.pages.frame import document
from luthier_trainer.pages.importance import FEWEST, importance
from luthier_trainer.pages.numbers import duration

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 38
_AXIS = 120  # between two axes of the parallel coordinates
_MARGIN = 70


@dataclass(frozen=True)
class Row:
    """A trial. `settings`: the values that it has, by path."""

    number: int
    state: str
    settings: dict[str, Value]
    value: float | None = None
    step: int = 0
    seconds: float = 0.0
    error: str | None = None

    @property
    def measured(self) -> bool:
        return self.state in ("Complete", "Pruned") and self.value is not None


def search_page(
    name: str, search: Search, rows: Sequence[Row], best: int | None, ended: str | None
) -> str:
    """Trials, the best so far, parallel coordinates, and what each setting tells. `best`: the
    number of the best one; `ended`: why no more were made."""
    measured = [it for it in rows if it.measured]
    chosen = next((it for it in rows if it.number == best), None)
    parts = [
        f"<h1>{escape(name)}: search</h1>",
        f'<p class="dim">{_about(search, rows, ended)}</p>',
        "<h2>Best</h2>",
        _best(search, chosen),
        "<h2>Best so far</h2>",
        _course(search, measured),
        "<h2>Settings and what came of them</h2>",
        _parallel(search, measured, chosen),
        '<p class="dim">A line is a trial that was measured; the best is the bold one, and trials '
        "that were ended early are dashed.</p>",
        "<h2>What each setting tells</h2>",
        _importance(rows),
        "<h2>Trials</h2>",
        _table(search, rows, chosen),
    ]
    return document(f"{name}: search", "\n".join(parts))


def _about(search: Search, rows: Sequence[Row], ended: str | None) -> str:
    states = [it.state for it in rows]
    counted = ", ".join(
        f"{states.count(state)} {state.lower()}"
        for state in ("Complete", "Pruned", "Failed")
        if state in states
    )
    return escape(
        f"{search.objective.direction} {search.objective.metric} on eval by {search.strategy}, "
        f"seed {search.seed}: {len(rows)} trials ({counted}), "
        f"{duration(sum(it.seconds for it in rows))} in all{f'; {ended}' if ended else ''}"
    )


def _best(search: Search, best: Row | None) -> str:
    if best is None:
        return "<p>No trial came to its end.</p>"
    rows = {
        "trial": str(best.number),
        search.objective.metric: f"{best.value:.4g}",
        **{path: written(value) for path, value in best.settings.items()},
    }
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


def _course(search: Search, measured: Sequence[Row]) -> str:
    """The value of each trial, and of the best of those up to it."""
    if not measured:
        return "<p>No trial was measured.</p>"
    values = [it.value or 0.0 for it in measured]
    marks = ticks(min(values), max(values))
    last = max(it.number for it in measured)
    x = Axis(0, max(last, 1), _LEFT, _WIDTH - _RIGHT)
    y = Axis(marks[0], marks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        grid(marks, y, _LEFT, _WIDTH - _RIGHT),
        scale(within(0, last), x, _HEIGHT - _BOTTOM, "trial", _WIDTH - _RIGHT),
    ]
    better = max if search.objective.direction == "maximize" else min
    points, so_far = [], None
    for row in measured:
        if row.state == "Complete":
            value = row.value or 0.0
            so_far = value if so_far is None else better(so_far, value)
        if so_far is not None:
            points.append(f"{x.place(row.number):.1f},{y.place(so_far):.1f}")
    parts.append(f'<polyline class="b" points="{" ".join(points)}"/>')
    parts += [
        f'<circle class="dot a" cx="{x.place(it.number):.1f}" cy="{y.place(it.value or 0.0):.1f}" '
        f'r="3"><title>trial {it.number}: {it.value:.4g}, {it.state}</title></circle>'
        for it in measured
    ]
    metric = escape(search.objective.metric)
    return (
        f'<figure class="histogram"><figcaption>{metric} on eval: <span class="key a">each trial'
        f'</span>, <span class="key b">best so far</span></figcaption><svg viewBox="0 0 {_WIDTH} '
        f'{_HEIGHT}" role="img" aria-label="{metric} by trial">{"".join(parts)}</svg></figure>'
    )


def _parallel(
    search: Search,
    measured: Sequence[Row],
    best: Row | None,
) -> str:
    """An axis for each setting and one for the objective, a line for each trial."""
    if not measured:
        return ""
    paths = sorted(search.space)
    values = [it.value or 0.0 for it in measured]
    objective = Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP + 20)
    places = {path: _MARGIN + _AXIS * index for index, path in enumerate(paths)}
    end = _MARGIN + _AXIS * len(paths)
    parts = [
        *(_axis(places[path], path, *_ends(search, path)) for path in paths),
        _axis(end, search.objective.metric, f"{min(values):.4g}", f"{max(values):.4g}"),
    ]
    for row in sorted(measured, key=lambda it: it is best):
        points = [
            f"{places[path]},{_place(search, path, row.settings[path]):.1f}"
            for path in paths
            if path in row.settings
        ]
        points.append(f"{end},{objective.place(row.value or 0.0):.1f}")
        style = "b" if row is best else "a thin"
        dashed = " dashed" if row.state == "Pruned" else ""
        parts.append(
            f'<polyline class="{style}{dashed}" points="{" ".join(points)}"><title>trial '
            f"{row.number}: {row.value:.4g}</title></polyline>"
        )
    width = end + _MARGIN
    return (
        f'<div class="wide"><svg width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} '
        f'{_HEIGHT}" role="img" aria-label="settings and objective of each trial">'
        f"{''.join(parts)}</svg></div>"
    )


def _axis(place: float, name: str, low: str, high: str) -> str:
    bottom = _HEIGHT - _BOTTOM

    def text(y: float, words: str) -> str:
        return f'<text x="{place}" y="{y}" text-anchor="middle">{escape(words[:22])}</text>'

    return (
        f'<line class="grid" x1="{place}" x2="{place}" y1="{_TOP + 20}" y2="{bottom}"/>'
        f"{text(_TOP + 10, high)}{text(bottom + 16, low)}{text(bottom + 32, name)}"
    )


def _ends(search: Search, path: str) -> tuple[str, str]:
    parameter = search.space[path]
    if parameter.type == "choice":
        values = [written(it) for it in (parameter.names or parameter.values or ())]
        return values[0], values[-1]
    return written(parameter.low or 0.0), written(parameter.high or 0.0)


def _place(search: Search, path: str, value: Value) -> float:
    """Where a value is on its axis; of choices in the order of the spec."""
    parameter, bottom, top = search.space[path], _HEIGHT - _BOTTOM, _TOP + 20
    choices: list[Value] = [*(parameter.names or parameter.values or ())]
    if choices:
        return Axis(0, len(choices) - 1, bottom, top).place(choices.index(value))
    low, high, number = parameter.low or 0.0, parameter.high or 0.0, float(value)
    if parameter.log:
        low, high, number = math.log(low), math.log(high), math.log(number)
    return Axis(low, high, bottom, top).place(number)


def _importance(rows: Sequence[Row]) -> str:
    whole = [it for it in rows if it.state == "Complete" and it.measured]
    if len(whole) < FEWEST:
        return f"<p>Not told of fewer than {FEWEST} trials that came to their end.</p>"
    found = importance([it.value or 0.0 for it in whole], [it.settings for it in whole])
    bars = "".join(
        f'<tr><th>{escape(path)}</th><td><svg class="bar" viewBox="0 0 100 10" '
        f'preserveAspectRatio="none"><rect width="{100 * share:.1f}" height="10"/></svg></td>'
        f'<td class="n">{100 * share:.0f}%</td></tr>'
        for path, share in found.items()
    )
    return (
        f"<table>{bars}</table>"
        '<p class="dim">How much of the differences between trials the setting tells by itself, '
        "trials with like values taken together; what settings do only together isn't in it.</p>"
    )


def _table(
    search: Search,
    rows: Sequence[Row],
    best: Row | None,
) -> str:
    paths = sorted(search.space)
    head = ("trial", "", search.objective.metric, "steps", "time", *paths)
    lines = ["".join(f"<th>{escape(it)}</th>" for it in head)]
    for row in rows:
        value = "" if row.value is None else f"{row.value:.4g}"
        cells = [
            f'<td class="n">{row.number}</td>',
            f"<td>{'<mark>best</mark>' if row is best else row.state}</td>",
            f'<td class="n">{value}</td><td class="n">{row.step:,}</td>',
            f'<td class="n">{duration(row.seconds)}</td>',
            *(
                f'<td class="n">{escape(written(row.settings[path]))}</td>'
                if path in row.settings
                else "<td></td>"
                for path in paths
            ),
        ]
        if row.error:
            cells.append(f'<td class="dim">{escape(row.error[:300])}</td>')
        lines.append("".join(cells))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'
