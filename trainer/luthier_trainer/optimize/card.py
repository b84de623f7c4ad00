"""The model card: README.md of a published package. Pure."""

from luthier_api.optimizejob import Candidate
from luthier_trainer.optimize.page import about, explained, milliseconds
from luthier_trainer.optimize.report import Summary
from luthier_trainer.report.numbers import measured, number

_GENAI = """import onnxruntime_genai as og

model = og.Model("model")
tokenizer = og.Tokenizer(model)
params = og.GeneratorParams(model)
params.set_search_options(max_length=256, do_sample=False)
generator = og.Generator(model, params)  # a new one for each request
generator.append_tokens(tokenizer.encode("Your prompt"))
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))"""


def card(summary: Summary) -> str:
    """Markdown with the front matter that hubs read."""
    run = summary.order.run
    how = (
        f"```python\n{_GENAI}\n```\n\nPrompts of a batch are of one length, or padded at the "
        "right (with a sliding window: of one length): padding at the left changes the answers."
        if summary.format == "genai"
        else "`model/README.md` shows it by example."
    )
    parts = [
        f"---\nlibrary_name: {'onnxruntime-genai' if summary.format == 'genai' else 'onnx'}\n"
        f"tags: [onnx, {summary.chosen}, luthier]\n---",
        f"# {run.name}",
        f"`{summary.order.source.uri}` as ONNX in {summary.chosen}, made by the OptimizeJob "
        f"`{run.namespace}/{run.name}`, revision `{run.revision}`.",
        "## Result",
        _table(summary),
        explained(summary),
        *_reasons(summary),
        "## How to use it",
        how,
        "## How it was made",
        "\n".join(
            [
                "| | |",
                "|---|---|",
                *(f"| {name} | {value} |" for name, value in about(summary).items()),
                *(
                    f"| {name} | {value} |"
                    for name, value in summary.options.get(summary.chosen or "", {}).items()
                ),
            ]
        ),
        "All settings are in `manifest.json`, every measurement in `report/index.html`.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(summary: Summary) -> str:
    metric = summary.order.optimizing.gates.metric
    head = ["", "size", "perplexity", *([metric] if metric else []), "tokens/s", "first token"]
    head += ["memory", "verdict"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    sides = [("source (PyTorch)", summary.baseline)]
    sides += [(each.told.candidate.precision, each.told.candidate) for each in summary.tried]
    for name, found in sides:
        cells = [name, *_cells(found, bool(metric)), found.verdict or ""]
        lines.append(f"| {' | '.join(cells)} |")
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
    found = [each.told.candidate for each in summary.tried]
    lines = [f"- {it.precision}: {it.reason}" for it in found if it.reason]
    return ["\n".join(lines)] if lines else []
