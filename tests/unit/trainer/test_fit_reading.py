"""How logits are best read: temperatures and thresholds as found by trying all, and calibration
errors as the field computes them."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from luthier_trainer.evaluation import calibration
from luthier_trainer.evaluation.fitreading import FEWEST, Fitted, of_classes, of_labels

NAMES = ["a", "b", "c", "d"]


def classes(temperature: float, rows: int = 4000) -> tuple[Any, Any]:
    """Logits of which the right classes are drawn by softmax(logits / temperature)."""
    draw = np.random.default_rng(7)
    logits = draw.normal(size=(rows, 4)) * 3
    noise = draw.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


def nll(logits: NDArray[Any], labels: NDArray[Any], temperature: float) -> float:
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    log = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return float(-log[np.arange(len(labels)), labels].mean())


def reference_ece(right: list[bool], sure: list[float], bins: int = 15) -> float:
    """As in the code of https://arxiv.org/abs/1706.04599: bins (low, high]."""
    r, s = np.array(right, float), np.array(sure)
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in pairwise(edges):
        within = (s > low) & (s <= high)
        if within.any():
            total += within.mean() * abs(r[within].mean() - s[within].mean())
    return float(total)


def fitted(found: Fitted | None) -> Fitted:
    assert found is not None
    return found


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5])
def test_the_temperature_has_the_least_loss(true: float) -> None:
    logits, labels = classes(true)
    found = fitted(of_classes(logits, labels)).reading.temperature
    assert found == pytest.approx(true, rel=0.1)
    best = nll(logits, labels, found)
    assert all(best <= nll(logits, labels, each) for each in np.geomspace(0.1, 10, 400))


def test_calibration_makes_the_error_small() -> None:
    logits, labels = classes(3.0)
    told = fitted(of_classes(logits, labels)).document
    assert told["ece"]["before"] > 0.15
    assert told["ece"]["after"] < 0.02
    assert told["loss"]["after"] < told["loss"]["before"]
    assert told["loss"]["before"] == pytest.approx(nll(logits, labels, 1.0), abs=1e-5)


def test_the_calibration_error_is_that_of_the_field() -> None:
    draw = np.random.default_rng(1)
    sure = [*draw.uniform(0, 1, 500).tolist(), 1.0, 1.0, 0.2, 1 / 15]
    right = (draw.uniform(size=504) < 0.7).tolist()
    sums = calibration.statistics(right, sure).sum(axis=0)[None]
    assert float(calibration.ece(sums)[0, 0]) == pytest.approx(reference_ece(right, sure))


def test_what_is_all_right_stays_as_it_is() -> None:
    logits = np.eye(4)[np.arange(40) % 4] * 2
    assert fitted(of_classes(logits, np.arange(40) % 4)).reading.temperature == 1.0


@pytest.mark.parametrize("rows", [0, FEWEST - 1])
def test_too_few_rows_tell_nothing(rows: int) -> None:
    assert of_classes(np.zeros((rows, 4)), np.zeros(rows, np.int64)) is None
    assert of_labels(np.zeros((rows, 4)), np.zeros((rows, 4)), NAMES) is None


def labels(rows: int = 400) -> tuple[Any, Any]:
    """Logits that are all too low; `d` is on two rows alone."""
    draw = np.random.default_rng(3)
    logits = draw.normal(size=(rows, 4)) * 2
    truth = (draw.uniform(size=(rows, 4)) < 1 / (1 + np.exp(-logits))).astype(float)
    truth[:, 3] = 0
    truth[:2, 3] = 1
    return logits - 3, truth


@pytest.mark.usefixtures("nothing_hidden")
def test_thresholds_have_the_best_f1() -> None:
    from sklearn.metrics import f1_score

    logits, truth = labels()
    reading = fitted(of_labels(logits, truth, NAMES)).reading
    sure = 1 / (1 + np.exp(-logits / reading.temperature))
    for column in range(3):
        found = f1_score(truth[:, column], sure[:, column] >= reading.thresholds[column])
        tried = [f1_score(truth[:, column], sure[:, column] >= t) for t in sure[:, column]]
        assert found == pytest.approx(max(tried))
        assert found > f1_score(truth[:, column], sure[:, column] >= 0.5)


@pytest.mark.usefixtures("nothing_hidden")
def test_a_rare_label_has_the_threshold_of_all() -> None:
    """Two rows tell nothing of theirs: that with the best micro F1."""
    from sklearn.metrics import f1_score

    logits, truth = labels()
    reading = fitted(of_labels(logits, truth, NAMES)).reading
    sure = 1 / (1 + np.exp(-logits / reading.temperature))
    shared = reading.thresholds[3]
    found = f1_score(truth, sure >= shared, average="micro")
    tried = [f1_score(truth, sure >= t, average="micro") for t in sure.reshape(-1)[::7]]
    assert found >= max(tried)


def test_equal_probabilities_are_given_together() -> None:
    logits = np.repeat([[2.0], [-2.0]], 20, axis=0)
    truth = np.array([1.0] * 15 + [0.0] * 5 + [1.0] + [0.0] * 19)[:, None]
    found = fitted(of_labels(logits, truth, ["a"]))
    low, high = (1 / (1 + np.exp(-x / found.reading.temperature)) for x in (-2.0, 2.0))
    assert low < found.reading.thresholds[0] <= high
    assert found.document["thresholds"] == {"a": round(found.reading.thresholds[0], 4)}
