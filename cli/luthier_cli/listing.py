"""`luthier list`: resources as a table, a line each. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.kinds import FINE_TUNE_JOB, kind_called
from luthier_api.visible import one_line, visible_in
from luthier_cli import text, view
from luthier_cli.state import Resource, cause, outcome, status_of


def shown(resource: Resource, now: datetime) -> dict[str, Any]:
    """What a line tells of it; what isn't known is left out."""
    metadata, status = resource["metadata"], status_of(resource)
    created = text.parse_time(metadata.get("creationTimestamp"))
    found = {
        "kind": resource["kind"],
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "phase": view.phase(resource),
        "percent": _percent(status.get("progress") or {}),
        "result": _result(resource),
        "ageSeconds": (now - created).total_seconds() if created else None,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def render(resources: Sequence[Resource], now: datetime, *, namespaces: bool) -> RenderableType:
    """A line each, the newest first. `namespaces`: with a column of them."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    headings = ["Name", "Phase", "Done", "Result", "Age"]
    for heading in ["Namespace", *headings] if namespaces else headings:
        wraps = heading == "Result"
        table.add_column(
            heading, no_wrap=not wraps, overflow="fold",
            justify="right" if heading in ("Done", "Age") else "left",
        )  # fmt: skip
    for resource in resources:
        line = shown(visible_in(resource), now)
        kind = kind_called(line["kind"])
        short = "" if kind in (None, FINE_TUNE_JOB) else f"{kind.short}/"  # as commands take it
        phase = Text(line["phase"], style=view.STYLES.get(line["phase"], ""))
        done = f"{line['percent']}%" if "percent" in line else ""
        age = text.duration(line["ageSeconds"]) if "ageSeconds" in line else ""
        cells = [Text(short + line["name"]), phase, Text(done), Text(line.get("result", ""))]
        first = [Text(line.get("namespace", ""))] if namespaces else []
        table.add_row(*first, *cells, Text(age))
    return table


def _percent(progress: Mapping[str, Any]) -> int | None:
    total, step = progress.get("totalSteps"), progress.get("step", 0)
    return 100 * min(step, total) // total if total else None


def _result(resource: Resource) -> str:
    """What came of it, or why nothing has."""
    status = status_of(resource)
    if outcome(resource) == "Complete":
        return one_line(str(status.get("result") or ""))
    return one_line(": ".join(it for it in cause(resource) if it))
