"""One class per example, or any number: accuracy, precision, recall, F1, as scikit-learn computes
them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats

VALUES = ("accuracy", "f1", "f1_micro", "f1_weighted", "precision", "recall")
Answer = str | Sequence[str]


def statistics(gold: Sequence[Answer], predicted: Sequence[Answer]) -> Floats:
    """[examples, 2 + 3 × classes]: whether all of it is right, 1; then for each class 1 where it
    was hit, was predicted, was right."""
    right, answered = [_set(each) for each in gold], [_set(each) for each in predicted]
    names = sorted(set().union(*right, *answered))
    number = {name: index for index, name in enumerate(names)}
    found = np.zeros((len(gold), 3, len(names)))
    for row, (expected, given) in enumerate(zip(right, answered, strict=True)):
        for kind, labels in enumerate((expected & given, given, expected)):
            found[row, kind, [number[label] for label in labels]] = 1
    exact = [float(each == other) for each, other in zip(right, answered, strict=True)]
    whole = np.stack([np.array(exact), np.ones(len(gold))], axis=1)
    return np.concatenate([whole, found.reshape(len(gold), -1)], axis=1)


def values(sums: Floats) -> Floats:
    """VALUES of each row of summed statistics: [rows, 6].

    Means over classes are over those that occur, as scikit-learn's are; what would divide
    by zero is 0.
    """
    exact, count = sums[:, 0], sums[:, 1]
    hits, predicted, gold = np.moveaxis(sums[:, 2:].reshape(len(sums), 3, -1), 1, 0)
    f1 = _ratio(2 * hits, predicted + gold)
    occurring = predicted + gold > 0
    all_hits, all_gold = hits.sum(axis=1), gold.sum(axis=1)

    def macro(scores: Floats) -> Floats:
        return _ratio((scores * occurring).sum(axis=1), occurring.sum(axis=1))

    columns = (
        _ratio(exact, count),
        macro(f1),
        _ratio(2 * all_hits, predicted.sum(axis=1) + all_gold),
        _ratio((f1 * gold).sum(axis=1), all_gold),
        macro(_ratio(hits, predicted)),
        macro(_ratio(hits, gold)),
    )
    return np.stack(columns, axis=1)


def table(gold: Sequence[Answer], predicted: Sequence[Answer]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class that occurs, and how many examples it has."""
    pairs = [(_set(g), _set(p)) for g, p in zip(gold, predicted, strict=True)]
    hits = Counter(label for g, p in pairs for label in g & p)
    return score_rows(
        hits,
        Counter(label for _, p in pairs for label in p),
        Counter(label for g, _ in pairs for label in g),
    )


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


def _set(answer: Answer) -> frozenset[str]:
    return frozenset([answer] if isinstance(answer, str) else answer)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
