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
        return _score(status) or _package(status) or _bundle(status)
    return one_line(": ".join(it for it in cause(resource) if it))


def _score(status: Mapping[str, Any]) -> str:
    """accuracy 0.41 → 0.87"""
    evaluation = status.get("evaluation") or {}
    base, tuned = evaluation.get("base") or {}, evaluation.get("tuned") or {}
    # A run's own metric says more than the loss, which all have.
    name = next(iter([*(it for it in tuned if it != "loss"), *tuned]), None)
    if name is None:
        return ""
    before = f"{base[name]:.4g} → " if name in base else ""
    return f"{name} {before}{tuned[name]:.4g}"


def _package(status: Mapping[str, Any]) -> str:
    """int8, 135.1 MiB, 52 tokens/s"""
    precision = (status.get("artifact") or {}).get("precision")
    if precision is None:
        return ""
    candidates: list[dict[str, Any]] = status.get("candidates") or []
    found = next((it for it in candidates if it.get("precision") == precision), {})
    size, speed = found.get("sizeBytes"), found.get("tokensPerSecond")
    parts = [precision, text.size(size) if size else "", f"{speed:.3g} tokens/s" if speed else ""]
    return ", ".join(part for part in parts if part)


def _bundle(status: Mapping[str, Any]) -> str:
    """3 adapters, 1 left out, 262.1 MiB"""
    adapters = status.get("adapters") or []
    inside = sum(it.get("state") == "Included" for it in adapters)
    out = sum(it.get("state") == "LeftOut" for it in adapters)
    size = (status.get("proof") or {}).get("sizeBytes")
    parts = [f"{inside} adapter{'' if inside == 1 else 's'}" if adapters else ""]
    parts += [f"{out} left out" if out else "", text.size(size) if size else ""]
    return ", ".join(part for part in parts if part)
