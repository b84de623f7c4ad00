"""Metrics from predictions and losses."""

import math
from collections.abc import Sequence


def accuracy(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of predictions that are right."""
    return sum(e == p for e, p in zip(expected, predicted, strict=True)) / len(expected)


def macro_f1(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Mean F1 of all labels that occur in either sequence (as scikit-learn's f1_score)."""
    scores = []
    for label in sorted({*expected, *predicted}):
        pairs = list(zip(expected, predicted, strict=True))
        hits = sum(e == p == label for e, p in pairs)
        occurrences = sum((e == label) + (p == label) for e, p in pairs)
        scores.append(2 * hits / occurrences)
    return sum(scores) / len(scores)


def perplexity(loss: float) -> float:
    """exp of the mean loss per token; the largest float where that overflows."""
    return math.exp(min(loss, 709.0))
