"""`luthier describe`: all that is known of a resource, on one screen. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.visible import visible_in
from luthier_cli import summary, text, view
from luthier_cli.state import Resource, outcome

_SHOWN_EVENTS = 12


def render(resource: Resource, events: Sequence[dict[str, Any]], now: datetime) -> RenderableType:
    """Where it stands, or what came of it; its conditions; its newest events."""
    parts: list[RenderableType] = []
    if outcome(resource) is None:
        parts.append(view.Live().frame(resource, now))
    else:
        parts += [summary.render(summary.summarize(resource)), Text()]
        parts.append(view.conditions(visible_in(resource)))
    if events:
        parts += [Text(), Text("Events", style="bold"), _events(visible_in(list(events)), now)]
    return Group(*parts)


def newest(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest of them, by when each was last seen; the oldest of these first."""
    return sorted(events, key=last_seen)[-_SHOWN_EVENTS:]


def last_seen(event: dict[str, Any]) -> str:
    """When (RFC 3339), in whichever field its reporter has written it."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), event["metadata"]["creationTimestamp"]))


def _events(events: Sequence[dict[str, Any]], now: datetime) -> Table:
    table = Table.grid(padding=(0, 1))
    for heading in range(4):
        table.add_column(no_wrap=heading < 3, overflow="fold")
    for event in events:
        seen = text.parse_time(last_seen(event))
        age = f"{text.duration((now - seen).total_seconds())} ago" if seen else ""
        count = (event.get("series") or {}).get("count") or event.get("count") or 1
        words = event.get("message", "") + (f" (×{count})" if count > 1 else "")
        warns = event.get("type") == "Warning"
        mark = Text("!" if warns else " ", style="yellow")
        table.add_row(mark, Text(age, style="dim"), Text(event.get("reason", "")), Text(words))
    return table
