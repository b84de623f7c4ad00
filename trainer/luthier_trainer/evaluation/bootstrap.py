"""95% intervals of metrics by the bootstrap, without computing a metric anew from examples.

A resample of n examples is how often each of them is drawn: a row of counts that is
multinomial. A metric here is a function of such rows (see metrics.py), so that all resamples
are computed at once; and two models measured by the same rows make a paired comparison
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13: percentile
intervals).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# How often each example counts, [resamples, examples] → the values, [resamples, k].
Weighted = Callable[[Floats], Floats]

RESAMPLES = 1000
SEED = 0
_LEVEL = 0.95
# Of fewer examples resamples are too alike: the interval would be far too narrow, of one without
# any width.
FEWEST = 10
_ROUNDING = 1e-9  # of the values' size
_CELLS = 4_000_000  # of counts held at once


@dataclass(frozen=True)
class Interval:
    """A range that holds the true value in 95% of all samples."""

    low: float
    high: float


def counts(
    examples: int, resamples: int = RESAMPLES, seed: int = SEED, cells: int = _CELLS
) -> Iterator[Floats]:
    """Rows of counts, each summing to `examples`, in blocks [≤ resamples, examples].

    The same seed gives the same rows, whatever `cells` (the size of a block) is.
    """
    generator = np.random.default_rng(seed)
    block = max(1, cells // examples)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, examples, size=(rows, examples))
        drawn += np.arange(rows)[:, None] * examples
        found = np.bincount(drawn.ravel(), minlength=rows * examples)
        yield found.reshape(rows, examples).astype(np.float64)


def point(metric: Weighted, examples: int) -> Floats:
    """The values on the examples as they are: [k]."""
    values: Floats = metric(np.ones((1, examples)))[0]
    return values


def resample(
    metrics: Sequence[Weighted], examples: int, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Floats]:
    """Each metric's values on the same resamples: [resamples, k] each."""
    blocks = [[metric(rows) for metric in metrics] for rows in counts(examples, resamples, seed)]
    return [np.concatenate(values) for values in zip(*blocks, strict=True)]


def intervals(values: Floats, examples: int) -> list[Interval | str]:
    """One for each column of [resamples, k], of so many examples; or why there is none.

    Resamples in which a value isn't defined (a correlation of equal numbers) are left out.
    """
    return [_interval(column, examples) for column in values.T]


def _interval(column: Floats, examples: int) -> Interval | str:
    if examples < FEWEST:
        rows = "1 row" if examples == 1 else f"{examples} rows"
        return f"{rows} tell too little of others: an interval needs {FEWEST}"
    finite = column[np.isfinite(column)]
    if len(finite) * 2 < len(column):
        return "it isn't defined in most samples of the rows"
    if np.ptp(finite) <= _ROUNDING * max(1.0, float(np.abs(finite).max())):
        return "it is the same in every sample of the rows"
    low, high = np.quantile(finite, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high))
