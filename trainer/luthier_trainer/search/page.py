"""report/search.html: a search on one page, which needs nothing but itself. Pure."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from luthier_api.finetuning import FineTuning
from luthier_api.search import Search
from luthier_api.searchspace import Value, active, written
from luthier_trainer.pages.axis import Axis, grid, scale, ticks, within
from luthier_trainer.pages.frame import document
from luthier_trainer.pages.numbers import duration
from luthier_trainer.search.importance import FEWEST, importance
from luthier_trainer.search.records import Record
from luthier_trainer.search.standing import best_of, stopped

_WIDTH, _HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 38
_AXIS = 120  # between two axes of the parallel coordinates
_MARGIN = 70


def search_page(name: str, tuning: FineTuning, records: Sequence[Record]) -> str:
    """Trials, the best so far, parallel coordinates, and what each setting tells."""
    search = tuning.search
    assert search is not None
    best = best_of(search, records)
    measured = [it for it in records if it.measured]
    settings = {it.number: active(tuning, it.settings) for it in records}
    parts = [
        f"<h1>{escape(name)}: search</h1>",
        f'<p class="dim">{_about(search, records)}</p>',
        "<h2>Best</h2>",
        _best(search, best, settings),
        "<h2>Best so far</h2>",
        _course(search, measured),
        "<h2>Settings and what came of them</h2>",
        _parallel(search, measured, settings, best),
        '<p class="dim">A line is a trial that was measured; the best is the bold one, and trials '
        "that were ended early are dashed.</p>",
        "<h2>What each setting tells</h2>",
        _importance(records, settings),
        "<h2>Trials</h2>",
        _table(search, records, settings, best),
    ]
    return document(f"{name}: search", "\n".join(parts))


def _about(search: Search, records: Sequence[Record]) -> str:
    states = [it.state for it in records]
    counted = ", ".join(
        f"{states.count(state)} {state.lower()}"
        for state in ("Complete", "Pruned", "Failed")
        if state in states
    )
    ended = stopped(search, records)
    return escape(
        f"{search.objective.direction} {search.objective.metric} on eval by {search.strategy}, "
        f"seed {search.seed}: {len(records)} trials ({counted}), "
        f"{duration(sum(it.seconds for it in records))} in all{f'; {ended}' if ended else ''}"
    )


def _best(search: Search, best: Record | None, settings: Mapping[int, Mapping[str, Value]]) -> str:
    if best is None:
        return "<p>No trial came to its end.</p>"
    rows = {
        "trial": str(best.number),
        search.objective.metric: f"{best.value:.4g}",
        **{path: written(value) for path, value in settings[best.number].items()},
    }
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


def _course(search: Search, measured: Sequence[Record]) -> str:
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
    for record in measured:
        if record.state == "Complete":
            value = record.value or 0.0
            so_far = value if so_far is None else better(so_far, value)
        if so_far is not None:
            points.append(f"{x.place(record.number):.1f},{y.place(so_far):.1f}")
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
    measured: Sequence[Record],
    settings: Mapping[int, Mapping[str, Value]],
    best: Record | None,
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
    for record in sorted(measured, key=lambda it: it is best):
        chosen = settings[record.number]
        points = [
            f"{places[path]},{_place(search, path, chosen[path]):.1f}"
            for path in paths
            if path in chosen
        ]
        points.append(f"{end},{objective.place(record.value or 0.0):.1f}")
        style = "b" if record is best else "a thin"
        dashed = " dashed" if record.state == "Pruned" else ""
        parts.append(
            f'<polyline class="{style}{dashed}" points="{" ".join(points)}"><title>trial '
            f"{record.number}: {record.value:.4g}</title></polyline>"
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


def _importance(records: Sequence[Record], settings: Mapping[int, Mapping[str, Value]]) -> str:
    whole = [it for it in records if it.state == "Complete" and it.measured]
    if len(whole) < FEWEST:
        return f"<p>Not told of fewer than {FEWEST} trials that came to their end.</p>"
    found = importance([it.value or 0.0 for it in whole], [settings[it.number] for it in whole])
    rows = "".join(
        f'<tr><th>{escape(path)}</th><td><svg class="bar" viewBox="0 0 100 10" '
        f'preserveAspectRatio="none"><rect width="{100 * share:.1f}" height="10"/></svg></td>'
        f'<td class="n">{100 * share:.0f}%</td></tr>'
        for path, share in found.items()
    )
    return (
        f"<table>{rows}</table>"
        '<p class="dim">How much of the differences between trials the setting tells by itself, '
        "trials with like values taken together; what settings do only together isn't in it.</p>"
    )


def _table(
    search: Search,
    records: Sequence[Record],
    settings: Mapping[int, Mapping[str, Value]],
    best: Record | None,
) -> str:
    paths = sorted(search.space)
    head = ("trial", "", search.objective.metric, "steps", "time", *paths)
    lines = ["".join(f"<th>{escape(it)}</th>" for it in head)]
    for record in records:
        value = "" if record.value is None else f"{record.value:.4g}"
        cells = [
            f'<td class="n">{record.number}</td>',
            f"<td>{'<mark>best</mark>' if record is best else record.state}</td>",
            f'<td class="n">{value}</td><td class="n">{record.step:,}</td>',
            f'<td class="n">{duration(record.seconds)}</td>',
            *(
                f'<td class="n">{escape(written(settings[record.number][path]))}</td>'
                if path in settings[record.number]
                else "<td></td>"
                for path in paths
            ),
        ]
        if record.error:
            cells.append(f'<td class="dim">{escape(record.error[:300])}</td>')
        lines.append("".join(cells))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{body}</table></div>'
