"""report/index.html: the candidates on one page, which needs nothing but itself. Pure."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from luthier_api.optimizejob import Candidate
from luthier_trainer.pages.bars import Bar, bars
from luthier_trainer.pages.frame import document
from luthier_trainer.pages.numbers import changed, measured, number
from luthier_trainer.pages.summary import Summary

Value = Callable[[Candidate], float | None]


def page(summary: Summary) -> str:
    run = summary.order.run
    parts = [
        f"<h1>{escape(summary.title)}</h1>",
        f'<p class="dim">revision {escape(run.revision)}, attempt {run.attempt}</p>',
        _outcome(summary),
        "<h2>Candidates</h2>",
        _table(summary),
        f'<p class="dim">{escape(explained(summary))}</p>',
        "<h2>Side by side</h2>",
        f'<div class="curves">{_charts(summary)}</div>',
        "<h2>Every measurement of speed</h2>",
        _timings(summary),
        *_metrics(summary),
        "<h2>Gates</h2>",
        _pairs(gates(summary)),
        "<h2>Run</h2>",
        _pairs(about(summary)),
        '<p><a href="candidates.json">candidates.json</a>: all of it in numbers</p>',
    ]
    return document(summary.title, "\n".join(parts))


def explained(summary: Summary) -> str:
    """How the figures came about, in words."""
    timed = summary.order.optimizing.benchmark
    rows = (
        f"Perplexity and metrics: {summary.rows:,} rows of {summary.split}, the same for all; "
        "intervals are 95%, of the paired difference to the source. "
        if summary.rows
        else "No rows were measured. "
    )
    return (
        f"{rows}Speed: {timed.prompt_tokens[0]} tokens read and {timed.new_tokens} generated, "
        f"batch {timed.batch_sizes[0]}, median of {timed.repeats}, on {summary.machine}. Memory: "
        "the most that a process with nothing else ever had. The source is the model by PyTorch "
        "and transformers in fp32."
    )


def gates(summary: Summary) -> dict[str, str]:
    """What candidates had to keep."""
    found = summary.order.optimizing.gates.to_json()
    return {name: str(value) for name, value in found.items() if value is not None} or {
        "none": "every candidate that runs passes"
    }


_OWN_CODE = "ran in the run that made the source, which is that code's word, too"


def about(summary: Summary) -> dict[str, str]:
    order, wanted = summary.order, summary.order.optimizing
    return {
        "source": order.source.uri,
        **({"revision of the source": order.source.revision} if order.source.revision else {}),
        **({"adapter": order.adapter_uri} if order.adapter_uri else {}),
        **({"licence of the base": summary.licence} if summary.licence else {}),
        **({"code of the user's own": _OWN_CODE} if summary.custom_code else {}),
        "device": wanted.target.device,
        "format": summary.format,
        "chosen for being": wanted.objective.lower(),
    }


def _outcome(summary: Summary) -> str:
    if summary.chosen:
        return f"<p>Published: <strong>{escape(summary.chosen)}</strong>.</p>"
    return '<p class="warning">No candidate keeps all gates: nothing is published.</p>'


def _table(summary: Summary) -> str:
    metric = summary.order.optimizing.gates.metric
    head = ["", "size", "perplexity", metric or "", "change", "95% interval", "logits differ"]
    head += ["tokens/s", "first token", "memory", "load", "verdict"]
    sides = [("source", summary.baseline), *((it.precision, it) for it in _found(summary))]
    lines = [[name, *_cells(candidate)] for name, candidate in sides]
    shown = [i for i, _ in enumerate(head) if not i or any(line[i] for line in lines)]
    top = "".join(f'<th class="{"n" if i else ""}">{escape(head[i])}</th>' for i in shown)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{"n" if i else ""}">{escape(line[i])}</td>' for i in shown)
        + "</tr>"
        for line in lines
    )
    reasons = "".join(
        f"<li><strong>{escape(it.precision)}</strong>: {escape(it.reason)}</li>"
        for it in _found(summary)
        if it.reason
    )
    notes = f"<ul>{reasons}</ul>" if reasons else ""
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>{notes}'


def _cells(it: Candidate) -> list[str]:
    low, high = it.metric_low, it.metric_high
    interval = "" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"
    return [
        _with(it.size_bytes, "B"),
        measured(it.perplexity),
        measured(it.metric),
        "" if it.metric_delta is None else f"{it.metric_delta:+.4g}",
        interval,
        _with(it.logits_difference, ""),
        _with(it.tokens_per_second, ""),
        milliseconds(it.first_token_ms),
        _with(it.memory_bytes, "B"),
        _with(it.load_seconds, "s"),
        it.verdict or "",
    ]


def _charts(summary: Summary) -> str:
    metric = summary.order.optimizing.gates.metric
    charts: list[tuple[str, Value, str]] = [
        ("size", lambda it: it.size_bytes, "B"),
        ("tokens per second", lambda it: it.tokens_per_second, ""),
        ("first token", lambda it: it.first_token_ms and it.first_token_ms / 1000, "s"),
        ("peak memory", lambda it: it.memory_bytes, "B"),
        ("perplexity (lower is better)", lambda it: it.perplexity, ""),
    ]
    if metric:
        charts.append((metric, lambda it: it.metric, ""))
    drawn = [bars(title, _bars(summary, value), unit) for title, value, unit in charts]
    if metric:
        drawn.append(bars(f"change of {metric}, with its 95% interval", _changes(summary)))
    return "".join(drawn)


def _bars(summary: Summary, value: Value) -> list[Bar]:
    sides = [("source", summary.baseline), *((it.precision, it) for it in _found(summary))]
    return [
        Bar(name, found, "chosen" if name == summary.chosen else "")
        for name, it in sides
        if (found := value(it)) is not None
    ]


def _changes(summary: Summary) -> list[Bar]:
    return [
        Bar(
            it.precision,
            it.metric_delta,
            "chosen" if it.precision == summary.chosen else "",
            it.metric_low,
            it.metric_high,
        )
        for it in _found(summary)
        if it.metric_delta is not None
    ]


def _timings(summary: Summary) -> str:
    head = ["", "prompt", "batch", "read, tokens/s", "generated, tokens/s"]
    head += ["first token, p50", "p95", "memory", "load"]
    sides = [("source", summary.timings)]
    sides += [(each.candidate.precision, each.timings) for each in summary.tried]
    rows = "".join(
        "<tr>"
        + f"<td>{escape(name)}</td>"
        + "".join(
            f'<td class="n">{cell}</td>'
            for cell in (
                f"{it.prompt_tokens:,}",
                f"{it.batch_size:,}",
                number(it.prompt_tokens_per_second),
                _with(it.generated_tokens_per_second, ""),
                milliseconds(it.first_token_ms),
                milliseconds(it.first_token_p95_ms),
                number(it.memory_bytes, "B"),
                number(it.load_seconds, "s"),
            )
        )
        + "</tr>"
        for name, found in sides
        for it in found
    )
    if not rows:
        return "<p>Not measured.</p>"
    top = "".join(f'<th class="{"n" if i else ""}">{name}</th>' for i, name in enumerate(head))
    return f'<div class="wide"><table><tr>{top}</tr>{rows}</table></div>'


def _metrics(summary: Summary) -> list[str]:
    """All metrics of every candidate, against the source."""
    found = [
        (each.candidate.precision, each.evaluation) for each in summary.tried if each.evaluation
    ]
    if not found:
        return []
    head = ("", "metric", "source", "candidate", "change", "95% interval")
    rows = "".join(
        f"<tr><td>{escape(precision)}</td><td>{escape(name)}</td>"
        + "".join(
            f'<td class="n">{cell}</td>'
            for cell in (
                measured(evaluation.base.get(name)),
                measured(value),
                *changed(evaluation.change.get(name)),
            )
        )
        + "</tr>"
        for precision, evaluation in found
        for name, value in evaluation.tuned.items()
    )
    top = "".join(f'<th class="{"n" if i > 1 else ""}">{name}</th>' for i, name in enumerate(head))
    return [
        "<h2>All metrics</h2>",
        f'<div class="wide"><table><tr>{top}</tr>{rows}</table></div>',
    ]


def _found(summary: Summary) -> Sequence[Candidate]:
    return [each.candidate for each in summary.tried]


def _with(value: float | None, unit: str) -> str:
    return "" if value is None else number(value, unit)


def milliseconds(value: float | None) -> str:
    """For people: 24.3 ms, 1.21 s."""
    if value is None:
        return ""
    return number(value, "ms") if value < 1000 else number(value / 1000, "s")


def _pairs(values: Mapping[str, str]) -> str:
    rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in values.items())
    return f"<table>{''.join(rows)}</table>"
