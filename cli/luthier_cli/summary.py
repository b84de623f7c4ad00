"""The short report at the end of a run. Pure: a resource's dict in, JSON or Rich out.

`luthier watch` and the demo feed it the resource from the cluster, `luthier run`
one that it made up from the trainer's result.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.evaluation import lower_is_better
from luthier_api.visible import one_line, visible_in
from luthier_cli import searchtable, tables, text
from luthier_cli.facts import facts_of
from luthier_cli.state import Resource, cause, gated_metric, outcome, status_of, warnings


@dataclass(frozen=True)
class Sample:
    """One prompt, and what the model said before and after."""

    prompt: str
    base: str
    tuned: str
    expected: str = ""


_FINISHED_BEFORE = (
    "! this is the result of an earlier run: to run again, e.g. on changed data, remove its folder "
    "or set another --output"
)
# The trainer's words, as a test checks: its log, where that is read, has told already, and where.
UNREAD = "nothing learns from it"
_SHOWN_SAMPLES = 3  # all of them are in report/sheet.html
_SHOWN_WARNINGS = 3


def parse_samples(document: str) -> list[Sample]:
    """The samples of an artifact's report/samples.json. Raises ValueError for anything else."""
    try:
        return [Sample(**item) for item in json.loads(document)]
    except TypeError as error:
        raise ValueError(f"not a list of samples: {error}") from None


@dataclass(frozen=True)
class Extras:
    """What a caller knows beside the resource: shown, and part of the JSON."""

    files: Sequence[tuple[str, int]] = ()
    report: str | None = None
    loss_curve: str | None = None
    samples: Sequence[Sample] = ()
    next_commands: Sequence[str] = ()
    log: str | None = None
    finished_before: bool = False  # the result is an earlier run's
    folder: str | None = None  # the artifact on this machine, as a shell takes it
    warnings: Sequence[str] = ()  # of the trainer, beside what its conditions say


def summarize(resource: Resource, extras: Extras | None = None) -> dict[str, Any]:
    """The report as JSON-ready dict; what isn't known is left out."""
    extras = extras or Extras()
    metadata, status = resource["metadata"], status_of(resource)
    reason, message = cause(resource)
    checkpoints = status.get("checkpoints")
    summary = {
        "kind": resource.get("kind"),
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "outcome": outcome(resource) or status.get("phase") or "Pending",
        "reason": reason,
        "message": message,
        "revision": status.get("revision"),
        "attempt": status.get("attempt"),
        "durationSeconds": text.seconds_between(
            status.get("startTime"), status.get("completionTime")
        ),
        "steps": (status.get("progress") or {}).get("step"),
        "loss": (status.get("progress") or {}).get("loss"),
        "checkpointStep": checkpoints[-1]["step"] if checkpoints else None,
        "evaluation": status.get("evaluation"),
        "search": status.get("search"),
        "warnings": _all_warnings(resource, extras),
        "dataset": status.get("dataset"),
        "retrain": status.get("retrain"),
        "estimate": status.get("estimate"),
        "resolved": status.get("resolved"),
        "metric": gated_metric(resource),
        "baseline": status.get("baseline"),
        "candidates": status.get("candidates"),
        "adapters": status.get("adapters"),
        "proof": status.get("proof"),
        # Of a bundle: the package in use, which a run that failed leaves as it is.
        "artifact": status.get("artifact") or status.get("current"),
        "folder": extras.folder,
        "report": extras.report,
        "files": [{"path": path, "bytes": size} for path, size in extras.files],
        "lossCurve": extras.loss_curve,
        "samples": [vars(sample) for sample in extras.samples],
        "usage": status.get("usage"),
        "restarts": status.get("restarts"),
        "log": extras.log,
        "finishedBefore": extras.finished_before or None,
        "nextCommands": list(extras.next_commands),
    }
    return {key: value for key, value in summary.items() if value not in (None, "", [], {})}


def _all_warnings(resource: Resource, extras: Extras) -> list[str]:
    """Each once: the trainer says of itself what a condition says, too."""
    found = warnings(resource)
    told = " ".join(found)
    found += [it for it in extras.warnings if it not in told]
    unread = (status_of(resource).get("dataset") or {}).get("unread")
    if unread and not any(UNREAD in it for it in found):
        found.append(f"chats have {', '.join(unread)}: {UNREAD}")
    return found


def render(summary: Mapping[str, Any]) -> RenderableType:
    """The report for a terminal."""
    summary = visible_in(summary)
    parts: list[RenderableType] = [_headline(summary)]
    parts += _warnings(summary.get("warnings", ()))
    if summary.get("finishedBefore"):
        parts.append(Text(_FINISHED_BEFORE, style="yellow"))
    if evaluation := summary.get("evaluation"):
        parts += ["", metrics_table(evaluation)]
    if search := summary.get("search"):
        parts += ["", searchtable.render(search)]
    if summary.get("candidates") or summary.get("baseline"):
        found = (summary.get("baseline", {}), summary.get("candidates", []))
        parts += ["", tables.candidates_table(*found, summary.get("metric"))]
    if adapters := summary.get("adapters"):
        parts += ["", tables.adapters_table(adapters)]
    if facts := facts_of(summary):
        parts += ["", grid(facts)]
    if samples := summary.get("samples", [])[: _room_for_samples(summary)]:
        parts += ["", _samples_table(samples)]
    if commands := summary.get("nextCommands"):
        parts += ["", Text("Next:", style="bold")]
        # Not folded: a command is copied whole.
        parts += [
            Text(one_line(f"  {command}"), style="cyan", no_wrap=True, overflow="ignore")
            for command in commands
        ]
    return Group(*parts)


def _room_for_samples(summary: Mapping[str, Any]) -> int:
    """On a screen of 24 lines the score is to stay in sight."""
    metrics = (summary.get("evaluation") or {}).get("tuned") or {}
    taken = max(0, len(metrics) - _SHOWN_SAMPLES) + len(summary.get("warnings", ()))
    return max(0, _SHOWN_SAMPLES - taken)


def _warnings(found: Sequence[str]) -> list[RenderableType]:
    """So many that the score below stays in sight."""
    shown = [Text(f"! {one_line(warning)}", style="yellow") for warning in found[:_SHOWN_WARNINGS]]
    if more := len(found) - len(shown):
        shown.append(Text(f"! {more} more in the log", style="yellow"))
    return [*shown]


def _headline(summary: Mapping[str, Any]) -> Text:
    ended = summary["outcome"]
    mark, style = {"Complete": ("✔", "bold green"), "Failed": ("✘", "bold red")}.get(
        ended, ("•", "bold yellow")
    )
    where = f"{summary['namespace']}/" if summary.get("namespace") else ""
    line = Text(one_line(f"{mark} {where}{summary['name']}: {ended}"), style=style)
    if "durationSeconds" in summary:
        line.append(f" after {text.duration(summary['durationSeconds'])}", style="not bold")
    if ended != "Complete" and (reason := summary.get("reason")):
        # Of several lines, as a traceback has: none of them looks like one of ours.
        message = summary.get("message", "").replace("\n", "\n  ")
        line.append(f"\n  {reason}: {message}" if message else f"\n  {reason}", style="not bold")
    return line


def metrics_table(evaluation: Mapping[str, Any]) -> RenderableType:
    """Base against tuned, on the same rows."""
    base, tuned = evaluation.get("base") or {}, evaluation.get("tuned") or {}
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    changes: Mapping[str, Mapping[str, float]] = evaluation.get("change") or {}
    for heading in ("Metric", "Base", "Tuned", "Change", *(["95% interval"] if changes else [])):
        table.add_column(heading, justify="left" if heading == "Metric" else "right")
    for name in dict.fromkeys([*tuned, *base]):
        before, after, change = base.get(name), tuned.get(name), changes.get(name)
        interval = [_interval(change)] if changes else []
        difference = _change(name, before, after, change)
        table.add_row(Text(name), _number(before), _number(after), difference, *interval)
    rows = evaluation.get("examples")
    if not rows:
        return table
    split = evaluation.get("split") or "eval"
    note = "" if split == "test" else " (they also selected the model: optimistic)"
    return Group(table, Text(f"on {rows:,} rows of {split}{note}", style="dim"))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"


def _change(
    name: str, before: float | None, after: float | None, change: Mapping[str, float] | None
) -> Text:
    """Green or red where it is sure: an interval that holds 0 says that it may be chance."""
    if before is None or after is None:
        return Text("")
    difference = after - before
    better = difference < 0 if lower_is_better(name) else difference > 0
    sure = change is None or ("low" in change and not change["low"] <= 0 <= change["high"])
    style = "" if not difference or not sure else "green" if better else "red"
    return Text(_signed(difference), style=style)


def _interval(change: Mapping[str, float] | None) -> str:
    if not change:
        return ""
    return f"{_signed(change['low'])} to {_signed(change['high'])}" if "low" in change else "none"


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{_number(abs(value))}"


def grid(rows: Sequence[tuple[str, str]]) -> Table:
    """Facts: (what, value) each in a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    # URIs and paths are copied by hand: fold them, never cut them.
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, Text(value))
    return table


def _samples_table(samples: Sequence[Mapping[str, str]]) -> Table:
    """A line each, cut where it is too long."""
    headings = [("prompt", "Prompt"), ("base", "Before"), ("tuned", "After")]
    if any(sample.get("expected") for sample in samples):
        headings.append(("expected", "Expected"))
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold", expand=True)
    for index, (_, heading) in enumerate(headings):
        table.add_column(Text(heading), no_wrap=True, overflow="ellipsis", ratio=1 + (index == 0))
    for sample in samples:
        cells = (" ".join((sample.get(key) or "").split()) for key, _ in headings)
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
    return table
