"""The model card: README.md of a published package. Pure."""

from collections.abc import Sequence

from luthier_api.optimizejob import Candidate
from luthier_trainer.pages.markdown import code, front_matter, inline, row
from luthier_trainer.pages.numbers import measured, number
from luthier_trainer.pages.optimize import about, explained, milliseconds
from luthier_trainer.pages.summary import Summary


def card(summary: Summary, how: Sequence[str]) -> str:
    """Markdown with the front matter that hubs read. `how`: the package is used, as paragraphs."""
    run = summary.order.run
    options = summary.options.get(summary.chosen or "", {})
    parts = [
        front_matter(
            {
                "library_name": "onnxruntime-genai" if summary.format == "genai" else "onnx",
                "tags": ["onnx", summary.chosen, "luthier"],
            }
        ),
        f"# {inline(run.name)}",
        f"{code(summary.order.source.uri)} as ONNX in {summary.chosen}, made by the OptimizeJob "
        f"{code(f'{run.namespace}/{run.name}')}, revision {code(run.revision)}.",
        "## Result",
        _table(summary),
        inline(explained(summary), most=2_000),
        *_reasons(summary),
        "## How to use it",
        *how,
        "## How it was made",
        "\n".join(
            [
                "| | |",
                "|---|---|",
                *(row([name, inline(value)]) for name, value in about(summary).items()),
                *(row([inline(name), inline(value)]) for name, value in options.items()),
            ]
        ),
        "All settings are in `manifest.json`, every measurement in `report/index.html`.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(summary: Summary) -> str:
    metric = summary.order.optimizing.gates.metric
    head = ["", "size", "perplexity", *([inline(metric)] if metric else []), "tokens/s"]
    head += ["first token"]
    head += ["memory", "verdict"]
    lines = [row(head), "|---" * len(head) + "|"]
    sides = [("source (PyTorch)", summary.baseline)]
    sides += [(each.candidate.precision, each.candidate) for each in summary.tried]
    for name, found in sides:
        lines.append(row([inline(name), *_cells(found, bool(metric)), found.verdict or ""]))
    return "\n".join(lines)


def _cells(it: Candidate, with_metric: bool) -> list[str]:
    metric = measured(it.metric)
    if it.metric_low is not None and it.metric_high is not None:
        metric += f" ({it.metric_delta:+.4g}; {it.metric_low:+.4g} to {it.metric_high:+.4g})"
    return [
        "" if it.size_bytes is None else number(it.size_bytes, "B"),
        measured(it.perplexity),
        *([metric] if with_metric else []),
        "" if it.tokens_per_second is None else number(it.tokens_per_second),
        milliseconds(it.first_token_ms),
        "" if it.memory_bytes is None else number(it.memory_bytes, "B"),
    ]


def _reasons(summary: Summary) -> list[str]:
    found = [each.candidate for each in summary.tried]
    lines = [f"- {inline(it.precision)}: {inline(it.reason)}" for it in found if it.reason]
    return ["\n".join(lines)] if lines else []
