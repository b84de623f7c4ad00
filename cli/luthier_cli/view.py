"""A run while it goes on: a live picture, or plain lines. Pure: a resource's dict in."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from luthier_api.visible import one_line, visible_in
from luthier_cli import searchtable, tables, text
from luthier_cli.state import (
    WARNINGS,
    Resource,
    cause,
    gated_metric,
    holds,
    outcome,
    retrain_pending,
    retry_pending,
    stage,
    status_of,
    warnings,
)

_BAR_WIDTH = 40
# Conditions that are bad news when they are True.
_BAD = ("Failed", "Stalled", "Suspended")
STYLES = {"Complete": "green", "Failed": "red", "Stalled": "red", "Suspended": "yellow"}


class Live:
    """The live picture; the spinner keeps its place from one frame to the next."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots", style="cyan")

    def frame(self, resource: Resource, now: datetime, note: str = "") -> RenderableType:
        """The picture of this moment. `note` stands below it, e.g. how to leave."""
        resource = visible_in(resource)
        parts: list[RenderableType] = [self._title(resource)]
        if bar := _bar(resource):
            parts.append(bar)
        if facts := list(_facts(resource, now)):
            parts.append(Text("  " + "   ".join(facts)))
        parts += _found(resource)
        parts.append(conditions(resource))
        if note:
            parts.append(Text(one_line(f"  {note}"), style="dim"))
        return Group(*parts)

    def _title(self, resource: Resource) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        ended = outcome(resource)
        mark: RenderableType = self._spinner
        if ended:
            mark = Text("✔", style="green") if ended == "Complete" else Text("✘", style="red")
        row.add_row(mark, _title(resource))
        return row


def _title(resource: Resource) -> Text:
    metadata, status = resource["metadata"], status_of(resource)
    name = f"{metadata.get('namespace', 'default')}/{metadata['name']}"
    title = Text(one_line(name), style="bold")
    title.append(f"  {phase(resource)}", style=STYLES.get(phase(resource), "cyan"))
    if revision := status.get("revision"):
        title.append(f"  {revision}", style="dim not bold")
    if (attempt := status.get("attempt") or 1) > 1:
        title.append(f", attempt {attempt}", style="dim not bold")
    return title


def phase(resource: Resource) -> str:
    """The phase, and while it runs the stage of the trainer."""
    if retry_pending(resource) and holds(resource, "Failed"):
        return "Waiting for the retry"
    ended = holds(resource, "Complete") or holds(resource, "Failed")
    if retrain_pending(resource) and ended:
        return "Looking at the data"
    name = str(status_of(resource).get("phase") or "Waiting for the operator")
    doing = stage(resource)
    return f"{name}: {doing}" if doing and outcome(resource) is None else name


def _bar(resource: Resource) -> RenderableType | None:
    progress = status_of(resource).get("progress") or {}
    total, step = progress.get("totalSteps"), progress.get("step", 0)
    if not total:
        return None
    row = Table.grid(padding=(0, 1))
    row.add_column(width=1)
    row.add_row(
        "",
        ProgressBar(total=total, completed=min(step, total), width=_BAR_WIDTH),
        Text(f"{step:,}/{total:,} steps"),
        Text(f"{100 * min(step, total) // total}%", style="bold"),
    )
    return row


def _found(resource: Resource) -> Iterator[RenderableType]:
    """What was found so far: candidates, or adapters."""
    status = status_of(resource)
    baseline, candidates = status.get("baseline") or {}, status.get("candidates") or []
    if baseline or candidates:
        table = tables.candidates_table(baseline, candidates, gated_metric(resource))
        yield Padding(table, (0, 0, 0, 2))
    if search := status.get("search"):
        yield Padding(Text(one_line(searchtable.counted(search))), (0, 0, 0, 2))
    if adapters := status.get("adapters"):
        yield Padding(tables.adapters_table(adapters), (0, 0, 0, 2))


def _facts(resource: Resource, now: datetime) -> Iterator[str]:
    """loss, speed, remaining time, checkpoint and restarts: those that are known."""
    status = status_of(resource)
    progress: dict[str, Any] = status.get("progress") or {}
    if (loss := progress.get("loss")) is not None:
        yield f"loss {loss:.4g}"
    if (eval_loss := progress.get("evalLoss")) is not None:
        yield f"eval loss {eval_loss:.4g}"
    if speed := progress.get("tokensPerSecond"):
        yield f"{speed:,.0f} tok/s"
    finish = text.parse_time(progress.get("estimatedFinish"))
    left = progress.get("step", 0) < progress.get("totalSteps", 1)
    if finish and left and outcome(resource) is None:
        yield f"ETA {text.duration((finish - now).total_seconds())}"
    # Until the first step shows how it goes.
    if not progress.get("step") and (expected := text.estimate(status.get("estimate") or {})):
        yield f"expected {expected}"
    if checkpoints := status.get("checkpoints"):
        yield f"checkpoint at step {checkpoints[-1]['step']:,}"
    if interruptions := text.restarts(status.get("restarts") or {}):
        yield interruptions
    if looked := text.retraining(status.get("retrain") or {}):
        yield looked


def conditions(resource: Resource) -> Table:
    """The conditions that tell something, in words; those of an older spec are dim."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    generation = resource["metadata"].get("generation", 0)
    for item in status_of(resource).get("conditions", []):
        if mark := _mark(item["type"], item["status"]):
            old = item.get("observedGeneration", generation) < generation
            words = item.get("message") or item["reason"]
            style = "dim" if old else ""
            table.add_row("", mark, Text(item["type"]), Text(words), style=style)
    return table


def _mark(kind: str, status: str) -> Text | None:
    if kind == "Reconciling":  # for GitOps engines: phase and progress say it better
        return None
    if status == "Unknown":
        return Text("?", style="yellow")
    if kind in WARNINGS:
        return Text("!", style="yellow") if status == WARNINGS[kind] else None
    if kind in _BAD:
        return Text("✘", style="red") if status == "True" else None
    if status == "True":
        return Text("✔", style="green")
    # False: of most it means "not yet", which goes without saying.
    if kind in ("DatasetValid", "GatesPassed"):
        return Text("✘", style="red")
    waits = ("Scheduled", "SourceReady", "AdaptersReady")
    return Text("…", style="yellow") if kind in waits else None


def plain_line(resource: Resource, now: datetime) -> str:
    """The same on one line, for logs."""
    resource = visible_in(resource)
    progress = status_of(resource).get("progress") or {}
    parts = [phase(resource)]
    if total := progress.get("totalSteps"):
        parts.append(f"step {progress.get('step', 0)}/{total}")
    parts += _facts(resource, now)
    status = status_of(resource)
    if search := status.get("search"):
        parts.append(one_line(searchtable.counted(search)))
    if words := tables.tally(status.get("candidates") or [], status.get("adapters") or []):
        parts.append(words)
    reason, message = cause(resource)
    if reason and outcome(resource) is None:
        parts.append(f"{reason}: {message}" if message else reason)
    parts += warnings(resource)
    return one_line("  ".join(parts))
