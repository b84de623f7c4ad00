"""Numbers for people. Pure."""

from luthier_api.finetunejob import Change, Estimate, EvaluationResult

_HEADS = ("metric", "base", "tuned", "change", "95% interval")
_HEADS_WITH_GAIN = ("metric", "base", "in use", "tuned", *_HEADS[3:], "gain", "95% interval")
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float, unit: str = "") -> str:
    """For people: 1.2k, 3.4M, 0.001; 1.9 GB with the unit B."""
    if unit == "%" and abs(value) >= 1000:
        return f"{value:,.0f}%"
    for size, prefix in _UNITS:
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{' ' if unit else ''}{prefix}{unit}"
    return f"{value:.3g}{' ' if unit and unit != '%' else ''}{unit}"


def duration(seconds: float) -> str:
    """45.3 s, 12.1 min, 3.25 h, 4.5 days."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def expected(estimate: Estimate, limit: int) -> str:
    """What a training needs, and the memory that there is."""
    memory, seconds = estimate.memory_bytes or 0, estimate.duration_seconds or 0.0
    return (
        f"{number(memory, 'B')} of memory (there are {number(limit, 'B')}) and "
        f"{duration(seconds)} without evaluations"
    )


def measured(value: float | None) -> str:
    """A metric's value: four digits, and thousands in full, e.g. 0.8712, 21,440."""
    if value is None:
        return ""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def changed(change: Change | None) -> tuple[str, str]:
    """(by how much, 95% interval or why there is none), with their signs."""
    if change is None:
        return "", ""
    if change.low is None or change.high is None:
        return signed(change.by), f"none: {change.no_interval}"
    return signed(change.by), f"{signed(change.low)} to {signed(change.high)}"


def compared(evaluation: EvaluationResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(heads, rows) of the table of a run's metrics: base and tuned side by side, and between them
    what was in use, where it was measured."""
    with_gain = evaluation.compared_with is not None
    rows = []
    for name, tuned in evaluation.tuned.items():
        in_use = (measured(evaluation.in_use.get(name)),) if with_gain else ()
        gain = changed(evaluation.gain.get(name)) if with_gain else ()
        base, change = evaluation.base.get(name), changed(evaluation.change.get(name))
        rows.append((name, measured(base), *in_use, measured(tuned), *change, *gain))
    return (_HEADS_WITH_GAIN if with_gain else _HEADS), rows


def signed(value: float) -> str:
    """A difference."""
    return ("+" if value > 0 else "") + measured(value)
