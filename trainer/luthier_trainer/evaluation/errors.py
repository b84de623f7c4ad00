"""How far numbers are from the right ones."""

from collections.abc import Sequence

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats

VALUES = ("mse", "mae")


def statistics(gold: Sequence[float], predicted: Sequence[float]) -> Floats:
    """[examples, 3]: the square of the difference, its size, 1."""
    away = np.array(predicted, float) - np.array(gold, float)
    return np.stack([away**2, np.abs(away), np.ones_like(away)], axis=1)


def values(sums: Floats) -> Floats:
    """VALUES of each row of summed statistics: [rows, 2]."""
    found: Floats = sums[:, :2] / np.maximum(sums[:, 2:], 1)
    return found
