"""The end of the demo: what optimising cost and brought, and what each adapter is worth. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier_cli import text
from luthier_cli.summary import grid
from luthier_demo.answers import Score, Tasks

Json = dict[str, Any]

_ASKED = (
    "Answered greedily by luthier_bundle.py, the package's own loader; right is an answer whose "
    "first word is the label."
)


@dataclass(frozen=True)
class Closing:
    """All that is shown. `optimized` and `tuned`: the OptimizeJob, complete, and the FineTuneJob
    that is its source. A task has the name of its adapter. `files`: (what, where)."""

    optimized: Json
    tuned: Json
    tasks: Tasks
    scores: Sequence[Score]
    files: Sequence[tuple[str, str]]
    next_commands: Sequence[str]


def closing(found: Closing) -> RenderableType:
    """The two tables, the files, and what to do next."""
    package = _chosen(found.optimized)
    return Group(
        "",
        Text(f"PyTorch against ONNX {package['precision']}, of {_name(found.tuned)}", style="bold"),
        _packages(found.optimized, package),
        Text(_measured_on(found.optimized, found.tuned), style="dim"),
        "",
        Text("The bundle as downloaded: right answers to each task's test rows", style="bold"),
        _adapters(found.tasks, found.scores),
        Text(_ASKED, style="dim"),
        "",
        grid(found.files),
        "",
        Text("Next:", style="bold"),
        # Not folded: a command is copied whole.
        *[
            Text(f"  {line}", style="cyan", no_wrap=True, overflow="ignore")
            for line in found.next_commands
        ],
    )


def _chosen(optimized: Json) -> Json:
    """The candidate that was published."""
    candidates: list[Json] = optimized["status"]["candidates"]
    return next(it for it in candidates if it["verdict"] == "Chosen")


def _packages(optimized: Json, package: Json) -> Table:
    """The source by PyTorch against the published package, a line for each value."""
    source: Json = optimized["status"]["baseline"]
    table = _table("", "PyTorch", f"ONNX {package['precision']}", "Change (95% interval)")
    metric: str = optimized["spec"]["gates"]["metric"]
    for name, field, shown, change in (
        ("Size", "sizeBytes", text.size, _times),
        ("Perplexity", "perplexity", _decimals, _percent),
        (metric.capitalize(), "metric", _decimals, None),
        ("Tokens/s", "tokensPerSecond", _digits, _times),
        ("First token", "firstTokenMs", _milliseconds, _times),
        ("Memory", "memoryBytes", text.size, _times),
    ):
        before, after = source[field], package[field]
        changed = change(before, after) if change else _with_interval(package)
        table.add_row(name, shown(before), shown(after), changed)
    return table


def _measured_on(optimized: Json, tuned: Json) -> str:
    evaluation, timed = tuned["status"]["evaluation"], optimized["spec"]["benchmark"]
    return (
        f"Quality: {evaluation['examples']} rows of {evaluation['split']}, the same for both. "
        f"Speed: {timed['promptTokens'][0]} tokens read, {timed['newTokens']} written, median of "
        f"{timed['repeats']}. PyTorch computes in fp32; its size is that of the files in storage."
    )


def _adapters(tasks: Tasks, scores: Sequence[Score]) -> Table:
    table = _table("", "Right adapter", "Wrong adapter", "No adapter", "A guess")
    for task, questions in tasks.items():
        of_it = [score for score in scores if score.task == task]
        right = next(score for score in of_it if score.adapter == task)
        wrong = next(score for score in of_it if score.adapter not in (task, None))
        none = next(score for score in of_it if score.adapter is None)
        guess = 1 / len({question.label for question in questions})
        cells = (Text(_share(right), style="green"), _share(wrong), _share(none))
        table.add_row(task, *cells, f"{guess:.2f}")
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


def _name(resource: Json) -> str:
    return f"{resource['metadata']['namespace']}/{resource['metadata']['name']}"


def _share(score: Score) -> str:
    return f"{score.right / score.asked:.2f}  {score.right:>3}/{score.asked}"


def _with_interval(package: Json) -> str:
    """Of the metric's change, which is paired."""
    change, low, high = (package.get(f"metric{what}") for what in ("Delta", "Low", "High"))
    interval = "" if low is None or high is None else f" ({_signed(low)} to {_signed(high)})"
    return f"{_signed(change)}{interval}" if change is not None else ""


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _times(before: float, after: float) -> str:
    return f"{after / before:.2g} ×"


def _percent(before: float, after: float) -> str:
    return f"{100 * (after / before - 1):+.1f}%".replace("-", "−")


def _decimals(value: float) -> str:
    return f"{value:.3f}"


def _digits(value: float) -> str:
    return f"{value:.3g}"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
