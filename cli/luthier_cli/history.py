"""`luthier history`: the revisions of a FineTuneJob as a table. Pure."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.visible import one_line
from luthier_cli.revisions import RevisionOf

_METRICS = 3  # so many have a column


def shown_metrics(revisions: Sequence[RevisionOf], first: str | None) -> list[str]:
    """The metrics that have a column: `first`, and then as the newest run names them."""
    names = dict.fromkeys(name for it in revisions for name in it.metrics)
    ordered = [first] if first in names else []
    return [*ordered, *(it for it in names if it != first)][:_METRICS]


def render(revisions: Sequence[RevisionOf], first: str | None) -> RenderableType:
    """A line for each, newest first, and below it why the newest is in use, or isn't."""
    metrics = shown_metrics(revisions, first)
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    for heading in ("", "Revision", "Outcome", "Finished", *metrics, "Data", "Why"):
        table.add_column(Text(heading), justify="right" if heading in metrics else "left")
    for it in revisions:
        mark = Text("●" if it.in_use else "", style="bold green")
        table.add_row(
            mark,
            Text(it.name + (" (pinned)" if it.pinned else "")),
            Text(it.outcome),
            Text(it.finished or "–"),
            *(Text(_metric(it, name)) for name in metrics),
            Text((it.dataset_digest or "–").removeprefix("sha256:")[:8]),
            Text(one_line(it.why.partition(":")[0])),
        )
    told = [
        Text(one_line(f"{it.name}: {it.why}"), style="dim") for it in revisions if ":" in it.why
    ]
    return Group(table, Text("● in use", style="dim"), *told)


def _metric(revision: RevisionOf, name: str) -> str:
    """Its value, with the interval of its change where that is known."""
    value = revision.metrics.get(name)
    if value is None:
        return "–"
    change = revision.changes.get(name) or {}
    if change.get("low") is None or change.get("high") is None:
        return f"{value:.4g}"
    against = revision.compared_with.partition("-")[0] if revision.compared_with else "base"
    return f"{value:.4g} ({against} {change['low']:+.3g} to {change['high']:+.3g})"
