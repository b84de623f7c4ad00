"""Two results beside each other: data, settings, metrics, loss curves. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.evaluation import lower_is_better
from luthier_api.visible import one_line

_TICKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
# What is known of a run's course.
_CURVES = ("loss", "eval_loss")


@dataclass(frozen=True)
class Side:
    """One of the two. `settings`: by dotted path; `curves`: (step, value), by name."""

    name: str
    dataset_digest: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] | None = None
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What they differ in. `gain`: of the second over the first, where a run has measured both."""

    first: Side
    second: Side
    gain: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings(self) -> dict[str, tuple[Any, Any]]:
        """Those that differ, by dotted path."""
        first, second = self.first.settings, self.second.settings
        if first is None or second is None:
            return {}
        paths = sorted({*first, *second})
        return {
            path: (first.get(path), second.get(path))
            for path in paths
            if first.get(path) != second.get(path)
        }

    def metrics(self) -> dict[str, tuple[float | None, float | None]]:
        """All of either."""
        names = dict.fromkeys([*self.second.metrics, *self.first.metrics])
        return {it: (self.first.metrics.get(it), self.second.metrics.get(it)) for it in names}

    def same_data(self) -> bool | None:
        """None where it isn't known."""
        first, second = self.first.dataset_digest, self.second.dataset_digest
        return None if first is None or second is None else first == second

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "revisions": [self.first.name, self.second.name],
            "datasetDigests": [self.first.dataset_digest, self.second.dataset_digest],
            "sameData": self.same_data(),
            "metrics": {name: list(values) for name, values in self.metrics().items()},
            "gain": dict(self.gain),
            "settings": {path: list(values) for path, values in self.settings().items()},
            "curves": {
                side.name: {name: list(map(list, it)) for name, it in side.curves.items()}
                for side in (self.first, self.second)
            },
        }


def side_of(name: str, manifest: bytes, journal: bytes | None) -> Side:
    """An artifact by its documents. Raises ValueError where the manifest is none."""
    document = json.loads(manifest)
    if not isinstance(document, dict):
        raise ValueError("not a manifest")
    result = document.get("result") or {}
    evaluation = result.get("evaluation") or {}
    return Side(
        name=name,
        dataset_digest=result.get("datasetDigest"),
        metrics=evaluation.get("tuned") or {},
        settings=dict(_leaves(document.get("spec") or {})),
        curves=curves_of(journal or b""),
    )


def curves_of(journal: bytes) -> dict[str, list[tuple[int, float]]]:
    """The course of a training, from its metrics.jsonl; what can't be read is left out."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in journal.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or not isinstance(step := entry.get("step"), int):
            continue
        for name in _CURVES:
            if isinstance(value := entry.get(name), int | float):
                found.setdefault(name, []).append((step, float(value)))
    return found


def render(of: Comparison) -> RenderableType:
    """For a terminal."""
    first, second = of.first.name, of.second.name
    metrics = _table("Metric", first, second, "Change", "95% interval")
    for name, (before, after) in of.metrics().items():
        gain = of.gain.get(name) or {}
        low, high = gain.get("low"), gain.get("high")
        interval = "" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"
        metrics.add_row(
            Text(name), Text(_value(before)), Text(_value(after)), _change(name, before, after),
            Text(interval),
        )  # fmt: skip
    same = of.same_data()
    data = {True: "the same", False: "other data", None: "not known"}[same]
    digests = f"{_short(of.first.dataset_digest)} → {_short(of.second.dataset_digest)}"
    parts: list[RenderableType] = [metrics, "", Text(f"Data  {data} ({digests})")]
    if of.first.settings is None or of.second.settings is None:
        parts.append(Text("Settings and curves aren't known here", style="dim"))
    elif differing := of.settings():
        table = _table("Setting", first, second)
        for path, (before, after) in differing.items():
            table.add_row(Text(one_line(path)), Text(_word(before)), Text(_word(after)))
        parts += ["", table]
    else:
        parts.append(Text("Settings  the same"))
    for name in _CURVES:
        lines = [
            (side.name, side.curves[name]) for side in (of.first, of.second) if name in side.curves
        ]
        if lines:
            parts += ["", Text(name, style="bold")]
            parts += [_curve(revision, points) for revision, points in lines]
    return Group(*parts)


def page(of: Comparison) -> str:
    """One HTML page that needs nothing beside it."""
    from html import escape

    def row(*cells: str, tag: str = "td") -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(it)}</{tag}>" for it in cells) + "</tr>"

    metrics = "".join(
        row(name, _value(before), _value(after), _change(name, before, after).plain)
        for name, (before, after) in of.metrics().items()
    )
    settings = "".join(
        row(path, _word(before), _word(after)) for path, (before, after) in of.settings().items()
    )
    names = (of.first.name, of.second.name)
    title = escape(f"{names[0]} and {names[1]}")
    curves = "".join(
        f"<h2>{escape(name)}</h2>{_drawn([(it.name, it.curves.get(name, ())) for it in _both(of)])}"
        for name in _CURVES
        if any(name in it.curves for it in _both(of))
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "td,th{text-align:left;padding:.2em 1em .2em 0}polyline{fill:none;stroke-width:2}</style>"
        f"<h1>{title}</h1><table>{row('Metric', *names, 'Change', tag='th')}{metrics}</table>"
        f"<h2>Settings that differ</h2><table>{row('Setting', *names, tag='th')}{settings}</table>"
        f"{curves}\n"
    )


def _both(of: Comparison) -> tuple[Side, Side]:
    return of.first, of.second


def _drawn(lines: Sequence[tuple[str, Sequence[tuple[int, float]]]]) -> str:
    from html import escape

    points = [point for _, line in lines for point in line]
    steps, values = [it[0] for it in points], [it[1] for it in points]
    low, high = min(values), max(values)
    last, span = max(*steps, 1), (high - low) or 1.0
    drawn = ""
    for (name, line), color in zip(lines, ("#888", "#06c"), strict=True):
        path = " ".join(f"{600 * x / last:.1f},{200 - 200 * (y - low) / span:.1f}" for x, y in line)
        drawn += f'<polyline points="{path}" stroke="{color}"><title>{escape(name)}</title>'
        drawn += "</polyline>"
    legend = f"grey: {lines[0][0]}, blue: {lines[1][0]}; {low:.4g} to {high:.4g}, {last} steps"
    return (
        f'<svg viewBox="-5 -5 610 210" width="100%" role="img">{drawn}</svg><p>{escape(legend)}</p>'
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, value


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column(Text(first))
    for heading in others:
        table.add_column(Text(heading))
    return table


def _curve(name: str, points: Sequence[tuple[int, float]]) -> Text:
    values = [value for _, value in points]
    shown = [values[index * len(values) // _WIDTH] for index in range(min(_WIDTH, len(values)))]
    if len(values) > _WIDTH:
        shown[-1] = values[-1]
    else:
        shown = values
    low, span = min(values), (max(values) - min(values)) or 1.0
    marks = "".join(_TICKS[int((it - low) / span * (len(_TICKS) - 1))] for it in shown)
    return Text(f"  {name}  {marks}  {values[0]:.4g} → {values[-1]:.4g}")


def _change(name: str, before: float | None, after: float | None) -> Text:
    if before is None or after is None:
        return Text("")
    by = after - before
    better = by < 0 if lower_is_better(name) else by > 0
    return Text(f"{by:+.4g}", style="" if not by else "green" if better else "red")


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _word(value: Any) -> str:
    return (
        "–" if value is None else one_line(value if isinstance(value, str) else json.dumps(value))
    )


def _short(digest: str | None) -> str:
    return (digest or "–").removeprefix("sha256:")[:8]
