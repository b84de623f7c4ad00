"""How the logits of a tuned head are best read, found on the rows of eval.

A temperature that makes its probabilities true (by the likelihood of the right answers, Guo et al.
2017, https://arxiv.org/abs/1706.04599), and of several classes the threshold of each with the best
F1. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.evaluation import calibration
from luthier_trainer.evaluation.bootstrap import Floats
from luthier_trainer.objectives.reading import Reading

FEWEST = 10  # rows; of a label's threshold: rows that have it, and as many that don't
_COLDEST, _HOTTEST = 0.1, 10.0
_HALVINGS = 60

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Fitted:
    """`document`: for report/evaluation.json, what it changed on the rows that it was found on."""

    reading: Reading
    document: dict[str, Any]

    @property
    def told(self) -> str:
        """For the log."""
        ece = self.document["ece"]
        return f"calibration error on eval {ece['before']:.4f}, then {ece['after']:.4f}"


def of_classes(logits: Floats, labels: Indices) -> Fitted | None:
    """Of logits [rows, classes] and the index of each row's class; None: too few rows to tell."""
    if len(labels) < FEWEST:
        return None
    # All right: the likelihood would rise for ever.
    wrong = (logits.argmax(axis=1) != labels).any()
    temperature = _temperature(logits, labels) if wrong else 1.0
    before, after = (_sure(logits, labels, t) for t in (1.0, temperature))
    document = {"temperature": round(temperature, 4), "rows": len(labels), **_told(before, after)}
    return Fitted(Reading(answer="label", temperature=temperature), document)


def of_labels(logits: Floats, truth: Floats, names: Sequence[str]) -> Fitted | None:
    """Of logits [rows, labels] and whether each row has each, 0 or 1; None: too few rows."""
    if len(truth) < FEWEST:
        return None
    # Each label of each row is a class of two: it has it, or not.
    pairs = np.stack([np.zeros_like(logits), logits], axis=-1).reshape(-1, 2)
    which = truth.reshape(-1).astype(np.int64)
    wrong = (pairs.argmax(axis=1) != which).any()
    temperature = _temperature(pairs, which) if wrong else 1.0
    sure = 1 / (1 + np.exp(-logits / temperature))
    shared = _threshold(sure.reshape(-1), truth.reshape(-1))
    thresholds = [
        _threshold(sure[:, index], truth[:, index])
        if FEWEST <= truth[:, index].sum() <= len(truth) - FEWEST
        else shared
        for index in range(len(names))
    ]
    before, after = (_sure(pairs, which, t) for t in (1.0, temperature))
    document = {
        "temperature": round(temperature, 4),
        "rows": len(truth),
        **_told(before, after),
        "thresholds": {n: round(t, 4) for n, t in zip(names, thresholds, strict=True)},
    }
    reading = Reading(answer="labels", temperature=temperature, thresholds=thresholds)
    return Fitted(reading, document)


def _temperature(logits: Floats, labels: Indices) -> float:
    """The one with the greatest likelihood: the slope of it by 1 / temperature only falls."""
    right = logits[np.arange(len(labels)), labels].mean()
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = (_softmax(logits * middle) * logits).sum(axis=1).mean()
        low, high = (middle, high) if right > expected else (low, middle)
    return float(1 / ((low + high) / 2))


def _threshold(sure: Floats, truth: Floats) -> float:
    """The one with the best F1, halfway between two probabilities; of several as good ones that
    which is nearest to 0.5."""
    order = np.argsort(-sure, kind="stable")
    ordered = sure[order]
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(sure) + 1) + truth.sum())
    # Equal probabilities are given together.
    last = np.append(ordered[:-1] > ordered[1:], True)
    following = np.append(ordered[1:], 0.0)
    halfway = np.where(last, (ordered + following) / 2, 0.0)
    best = np.flatnonzero(last & (f1 >= f1[last].max() - 1e-12))
    return float(halfway[best[np.abs(halfway[best] - 0.5).argmin()]])


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def _sure(logits: Floats, labels: Indices, temperature: float) -> tuple[float, float]:
    """(mean -log p of the right class, expected calibration error)."""
    p = _softmax(logits / temperature)
    right = np.maximum(p[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    sums = calibration.statistics((p.argmax(axis=1) == labels).tolist(), p.max(axis=1).tolist())
    return float(-np.log(right).mean()), float(calibration.ece(sums.sum(axis=0)[None])[0, 0])


def _told(before: tuple[float, float], after: tuple[float, float]) -> dict[str, Any]:
    names = ("loss", "ece")
    return {
        name: {"before": round(b, 6), "after": round(a, 6)}
        for name, b, a in zip(names, before, after, strict=True)
    }
