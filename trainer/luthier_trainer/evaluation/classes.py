"""One class per example: accuracy, precision, recall, F1, as scikit-learn computes them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats

VALUES = ("accuracy", "f1", "f1_micro", "f1_weighted", "precision", "recall")


def statistics(gold: Sequence[str], predicted: Sequence[str]) -> Floats:
    """[examples, 3 × classes]: for each class 1 where it was hit, was predicted, was right."""
    names = sorted({*gold, *predicted})
    number = {name: index for index, name in enumerate(names)}
    right = np.array([number[name] for name in gold])
    answered = np.array([number[name] for name in predicted])
    found = np.zeros((len(gold), 3, len(names)))
    rows = np.arange(len(gold))
    found[rows, 0, right] = right == answered
    found[rows, 1, answered] = 1
    found[rows, 2, right] = 1
    return found.reshape(len(gold), -1)


def values(sums: Floats) -> Floats:
    """VALUES of each row of summed statistics: [rows, 6].

    Means over classes are over those that occur, as scikit-learn's are; what would divide
    by zero is 0.
    """
    hits, predicted, gold = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
    f1 = _ratio(2 * hits, predicted + gold)
    occurring = predicted + gold > 0
    all_hits, all_gold = hits.sum(axis=1), gold.sum(axis=1)

    def macro(scores: Floats) -> Floats:
        return _ratio((scores * occurring).sum(axis=1), occurring.sum(axis=1))

    columns = (
        _ratio(all_hits, all_gold),
        macro(f1),
        _ratio(2 * all_hits, predicted.sum(axis=1) + all_gold),
        _ratio((f1 * gold).sum(axis=1), all_gold),
        macro(_ratio(hits, predicted)),
        macro(_ratio(hits, gold)),
    )
    return np.stack(columns, axis=1)


def table(gold: Sequence[str], predicted: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class that occurs, and how many examples it has."""
    hits = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    return score_rows(hits, Counter(predicted), Counter(gold))


def score_rows(
    hits: Counter[str], predicted: Counter[str], gold: Counter[str]
) -> list[dict[str, Any]]:
    """The table of anything that is hit, predicted and right so many times."""
    return [
        {
            "label": name,
            "precision": _share(hits[name], predicted[name]),
            "recall": _share(hits[name], gold[name]),
            "f1": _share(2 * hits[name], predicted[name] + gold[name]),
            "support": gold[name],
        }
        for name in sorted({*gold, *predicted})
    ]


def confusion(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> list[list[int]]:
    """How often each label (row) was answered by each (column)."""
    seen = Counter(zip(gold, predicted, strict=True))
    return [[seen[right, answer] for answer in labels] for right in labels]


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
