"""report/index.html: a run on one page, which needs nothing but itself. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

from luthier_api.finetunejob import EvaluationResult
from luthier_api.runspec import RunSpec
from luthier_trainer.pages.classtables import class_sections
from luthier_trainer.pages.curve import figure
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.frame import document
from luthier_trainer.pages.numbers import compared, duration, measured, number, signed
from luthier_trainer.training.journal import Journal

# (title, unit, [(name, value of the journal)])
_LOSS = ("loss", "", [("train", "loss"), ("eval", "eval_loss")])
_CURVES = (
    ("learning rate", "", [("learning rate", "learning_rate")]),
    ("norm of the gradient", "", [("norm", "grad_norm")]),
    ("tokens per second", "", [("tokens", "tokens_per_second")]),
    ("samples per second", "", [("samples", "samples_per_second")]),
    ("time waiting for data", "%", [("waiting", "data_wait_percent")]),
    ("CPU busy (100% is one CPU)", "%", [("CPU", "cpu_percent")]),
    ("GPU busy", "%", [("GPU", "gpu_percent")]),
    ("memory in use on the GPU", "B", [("memory", "gpu_memory_bytes")]),
    ("peak memory of the training", "B", [("memory", "peak_memory_bytes")]),
)
# How far the run is: what measures are drawn over.
_POSITIONS = ("step", "epoch", "seconds")
# File → what it is.
LINKS = {
    "search.html": "the trials of the search",
    "data.html": "what preflight saw of the data",
    "sheet.html": "answers of both models, to compare blindly",
    "evaluation.json": "metrics by class, and more",
    "metrics.jsonl": "the course in numbers",
}


def page(
    spec: RunSpec,
    journal: Journal,
    evaluation: EvaluationResult | None,
    facts: Facts,
    links: Iterable[str] = LINKS,
    details: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """`links`: files beside it. `details`: what evaluation.json has of classes."""
    name = escape(f"{spec.run.namespace}/{spec.run.name}")
    tuning = spec.fine_tuning
    best = f"; the weights are those of step {facts.best_step}" if facts.best_step else ""
    about = {
        "base model": tuning.model.uri,
        **({"went on from": facts.started_from} if facts.started_from else {}),
        "data": f"{tuning.dataset.uri} ({facts.summary})",
        "task": tuning.task,
        "method": tuning.method.type,
        "steps": f"{facts.steps}{best}",
        **_estimate(facts),
    }
    parts = [
        f"<h1>{name}</h1>",
        f'<p class="dim">revision {escape(spec.run.revision)}, attempt {spec.run.attempt}</p>',
        *(f'<p class="warning">{escape(warning)}</p>' for warning in facts.warnings),
        "<h2>Result</h2>",
        _result(evaluation),
        _merged(facts),
        class_sections(details),
        "<h2>Course</h2>",
        f'<div class="curves">{_curves(journal)}</div>',
        "<h2>Run</h2>",
        _pairs(about),
        "<h2>Settings as they were resolved</h2>",
        _pairs(facts.resolved),
        "<h2>More</h2>",
        "<ul>",
        *(f'<li><a href="{link}">{link}</a>: {LINKS[link]}</li>' for link in links),
        "</ul>",
    ]
    return document(f"{spec.run.namespace}/{spec.run.name}", "\n".join(parts))


def _result(evaluation: EvaluationResult | None) -> str:
    if evaluation is None:
        return "<p>Not measured: the dataset names neither eval nor test rows.</p>"
    heads, rows = compared(evaluation)
    split = escape(evaluation.split or "")
    seen = (
        "which training never saw"
        if split == "test"
        else "which may have guided choices: optimistic"
    )
    return (
        _table(heads, rows)
        + f'<p class="dim">{evaluation.examples:,} rows of {split}, {seen}. The change is that of '
        "the same rows; its interval comes from drawing them again and again (paired "
        f"bootstrap).{_in_use(evaluation)}</p>"
    )


def _in_use(evaluation: EvaluationResult) -> str:
    if evaluation.compared_with is None:
        return ""
    return (
        f" In use was {escape(evaluation.compared_with)}, which answered the same rows in this "
        "run: the gain is over that."
    )


def _merged(facts: Facts) -> str:
    """What the merge into the unquantised base changed."""
    if not facts.merged_metrics:
        return ""
    rows = [
        (name, measured(each["merged"]), signed(each["change"]))
        for name, each in facts.merged_metrics.items()
    ]
    return _table(("metric", "merged", "change to tuned"), rows) + (
        '<p class="dim">The tuned model was measured on the 4-bit base. The merged one, in model/, '
        "has the unquantised base's weights and differs.</p>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column has words, the others numbers."""
    lines = [("th", head), *(("td", row) for row in rows)]
    body = "".join(
        f"<tr><{tag}>{escape(first)}</{tag}>"
        + "".join(f'<{tag} class="n">{escape(cell)}</{tag}>' for cell in cells)
        + "</tr>"
        for tag, (first, *cells) in lines
    )
    return f'<div class="wide"><table>{body}</table></div>'


def _curves(journal: Journal) -> str:
    """All measures; those that have no title, as the metrics on eval, under their own names."""
    titled = {value for _, _, lines in (_LOSS, *_CURVES) for _, value in lines}
    others = [name for name in journal.names() if name not in titled.union(_POSITIONS)]
    return "".join(
        figure(title, [(name, *journal.series(value)) for name, value in lines], unit)
        for title, unit, lines in (
            _LOSS,
            *((name, "", [(name, name)]) for name in others),
            *_CURVES,
        )
    )


def _estimate(facts: Facts) -> dict[str, str]:
    estimate = facts.estimate
    memory = {
        "memory, expected": estimate.memory_bytes,
        "memory, measured": estimate.measured_memory_bytes,
    }
    time = {
        "time of training, expected": estimate.duration_seconds,
        "time of training, measured": estimate.measured_duration_seconds,
    }
    return {
        **{name: number(value, "B") for name, value in memory.items() if value},
        **{name: duration(value) for name, value in time.items() if value},
    }


def _pairs(values: Mapping[str, str]) -> str:
    return (
        "<table>"
        + "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in values.items())
        + "</table>"
    )
