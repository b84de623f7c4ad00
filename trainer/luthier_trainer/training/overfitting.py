"""Whether a model learns its examples by heart: docs/overfitting.md. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

EVALUATIONS = 3  # in a row that the loss on `eval` must have risen in
MARGIN = 0.02  # share of its minimum that it must stand above it
TREMBLES = 3  # times its tremble that it must stand above it
WINDOW = 4  # evaluations whose mean counts; half of them where there are few

# (steps, losses)
Series = tuple[Sequence[int], Sequence[float]]


def overfitting(train: Series, evaluated: Series) -> str | None:
    """What shows it, in a sentence; None where nothing does.

    The loss on `eval` rose in EVALUATIONS evaluations in a row, and its moving mean stands
    above its lowest by more than MARGIN and more than TREMBLES times the tremble, while the
    training loss of that time is below that of the time before.
    """
    steps, losses = evaluated
    recent = losses[-EVALUATIONS - 1 :]
    if len(recent) <= EVALUATIONS:
        return None
    if any(after <= before for before, after in pairwise(recent)):
        return None
    means = _moving_means(losses, min(WINDOW, len(losses) // 2))
    start = min(range(len(means)), key=means.__getitem__)
    rise = means[-1] - means[start]
    if rise <= max(MARGIN * means[start], TREMBLES * tremble(losses[start:])):
        return None
    lowest = min(range(len(losses)), key=losses.__getitem__)
    before = _mean(train, steps[lowest - 1] if lowest else 0, steps[lowest])
    now = _mean(train, steps[-2], steps[-1])
    if before is None or now is None or now >= before:
        return None
    return (
        f"the loss on eval rose from {losses[lowest]:.4g} at step {steps[lowest]} to "
        f"{losses[-1]:.4g} at step {steps[-1]} while the training loss fell from {before:.4g} to "
        f"{now:.4g}: the model learns its examples by heart; set training.earlyStopping, train "
        "less, or add data"
    )


def tremble(losses: Sequence[float]) -> float:
    """How far an evaluation lies from the middle of its neighbours: the median. A steady rise
    has none."""
    middles = zip(losses, losses[1:], losses[2:], strict=False)
    return median(abs(loss - (before + after) / 2) for before, loss, after in middles)


def _moving_means(losses: Sequence[float], window: int) -> list[float]:
    starts = range(len(losses) - window + 1)
    return [sum(losses[start : start + window]) / window for start in starts]


def _mean(series: Series, after: int, until: int) -> float | None:
    """Mean of the losses logged in (after, until]."""
    values = [value for step, value in zip(*series, strict=True) if after < step <= until]
    return sum(values) / len(values) if values else None
