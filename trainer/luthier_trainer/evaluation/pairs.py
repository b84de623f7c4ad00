"""How well scores follow the right ones: Pearson's and Spearman's correlation, as scipy has
them; NaN where either side is all the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.evaluation.bootstrap import Floats, Weighted

# A variance below this share of the squared size is rounding.
_ROUNDING = 1e-26


def pearson(gold: Sequence[float], predicted: Sequence[float]) -> Weighted:
    x, y = np.array([gold, predicted], dtype=np.float64)[:, None]
    return lambda counts: _correlation(x, y, counts)


def spearman(gold: Sequence[float], predicted: Sequence[float]) -> Weighted:
    """Ranks are taken anew in each resample: those of the whole set would make the interval
    too narrow."""
    x, y = _Ranks(gold), _Ranks(predicted)
    return lambda counts: _correlation(x.of(counts), y.of(counts), counts)


class _Ranks:
    """Ranks of numbers, each of which counts several times or never."""

    def __init__(self, values: Sequence[float]) -> None:
        found = np.array(values, dtype=np.float64)
        self._order = np.argsort(found, kind="stable")
        distinct, self._group = np.unique(found, return_inverse=True)
        self._starts: NDArray[np.intp] = np.searchsorted(found[self._order], distinct)

    def of(self, counts: Floats) -> Floats:
        """[rows, examples]; equal numbers share the mean of their ranks."""
        there = np.add.reduceat(counts[:, self._order], self._starts, axis=1)
        ranks = np.cumsum(there, axis=1) - there + (there + 1) / 2
        return ranks[:, self._group]


def _correlation(x: Floats, y: Floats, counts: Floats) -> Floats:
    """[rows or 1, examples] each, and how often each example counts → [rows, 1]."""
    (x, spread_x, same_x), (y, spread_y, same_y) = _centred(x, counts), _centred(y, counts)
    together = (counts * x * y).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.clip(together / np.sqrt(spread_x * spread_y), -1, 1)
    return np.where(same_x | same_y, np.nan, found)[:, None]


def _centred(x: Floats, counts: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Differences from the mean, the sum of their squares, and whether all are the same."""
    size = (counts * x * x).sum(axis=1)
    x = x - (counts * x).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
    spread: Floats = (counts * x * x).sum(axis=1)
    return x, spread, spread <= _ROUNDING * size
