"""What optimising and bundling came to, as tables. Pure: parts of a status in, Rich out.

What a status says is a Text: in a plain string Rich would look for markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from luthier_api.visible import one_line
from luthier_cli import text

_VERDICTS = {"Chosen": "bold green", "Passed": "green", "Undecided": "yellow"}
_STATES = {"Included": "green", "LeftOut": "yellow", "Pending": "dim"}


def candidates_table(
    baseline: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]], metric: str | None
) -> RenderableType:
    """The source and each candidate, a line each, and below it why a gate was missed.

    `metric`: that of the gates.
    """
    gated = (metric, "Change", "95% interval") if metric else ()
    headings = ("Size", "Perplexity", *gated, "Tokens/s", "First token", "Memory", "Verdict")
    rows = {"source": [*map(Text, _cells(baseline, metric)), Text()]} if baseline else {}
    for candidate in candidates:
        verdict = str(candidate.get("verdict", ""))
        shown = Text(verdict, style=_VERDICTS.get(verdict, "red"))
        rows[candidate["precision"]] = [*map(Text, _cells(candidate, metric)), shown]
    table = _Fitting(headings, rows)
    reasons = [
        Text(one_line(f"{it['precision']}: {it['reason']}"), style="dim") for it in candidates
        if it.get("reason")
    ]  # fmt: skip
    return Group(table, *reasons)


@dataclass(frozen=True)
class _Fitting:
    """A line for each of `rows`; turned, a line for each heading, where that is too wide."""

    headings: Sequence[str]
    rows: Mapping[str, Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = _table("", *self.headings)
        wide.columns[-1].justify = "left"
        for name, cells in self.rows.items():
            wide.add_row(Text(name), *cells)
        if Measurement.get(console, options.update(width=1000), wide).maximum <= options.max_width:
            yield wide
            return
        turned = _table("", *self.rows)
        for index, heading in enumerate(self.headings):
            turned.add_row(Text(heading), *(cells[index] for cells in self.rows.values()))
        yield turned


def _cells(found: Mapping[str, Any], metric: str | None) -> list[str]:
    cells = [_size(found.get("sizeBytes")), _number(found.get("perplexity"))]
    if metric:
        low, high = found.get("metricLow"), found.get("metricHigh")
        interval = "" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"
        delta = found.get("metricDelta")
        cells += [
            _number(found.get("metric")),
            "" if delta is None else f"{delta:+.4g}",
            interval,
        ]
    first = found.get("firstTokenMs")
    return [
        *cells,
        _number(found.get("tokensPerSecond")),
        "" if first is None else f"{first:.4g} ms",
        _size(found.get("memoryBytes")),
    ]


def adapters_table(adapters: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Each adapter of a bundle, what became of it, and why."""
    table = _table("Adapter", "", "Revision")
    table.add_column("", overflow="fold")
    for adapter in adapters:
        state = adapter.get("state", "Pending")
        why = ": ".join(adapter[key] for key in ("reason", "message") if adapter.get(key))
        style = _STATES.get(state, "")
        revision = adapter.get("revision") or "–"
        table.add_row(Text(adapter["name"]), Text(state, style=style), Text(revision), Text(why))
    return table


def proof(of: Mapping[str, Any]) -> str:
    """What was proven of a package, on one line."""
    count = of.get("adapters", 0)
    parts = [f"{count} adapter{'' if count == 1 else 's'}"]
    if (difference := of.get("logitsDifference")) is not None:
        parts.append(f"logits within {difference:.2g} of PEFT's on the unquantised base")
    if (isolated := of.get("isolated")) is not None:
        parts.append("isolated from each other" if isolated else "not isolated from each other")
    parts.append(f"{of.get('rebuilt', 0)} built anew")
    if size := of.get("sizeBytes"):
        parts.append(text.size(size))
    return ", ".join(parts)


def tally(candidates: Sequence[Mapping[str, Any]], adapters: Sequence[Mapping[str, Any]]) -> str:
    """How far it has come, in a few words; empty before there is anything to tell."""
    verdicts = [f"{it['precision']} {it.get('verdict', 'measured')}" for it in candidates]
    states = [it.get("state") for it in adapters]
    known = {"Included": "in", "LeftOut": "left out"}
    counted = [f"{states.count(state)} {word}" for state, word in known.items() if state in states]
    parts = [", ".join(verdicts)] if verdicts else []
    if counted:
        parts.append(f"{', '.join(counted)} of {len(adapters)} adapters")
    return "   ".join(parts)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column(Text(first))
    for heading in others:
        table.add_column(Text(heading), justify="right" if first == "" else "left")
    return table


def _size(count: float | None) -> str:
    return "" if count is None else text.size(count)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
