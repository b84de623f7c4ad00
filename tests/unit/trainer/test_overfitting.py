"""When a run says that its model learns by heart, and when it doesn't."""

import random
from pathlib import Path

import pytest
from unit.trainer.training_runs import Fit, rows

from luthier_trainer.training.overfitting import overfitting

EVERY = 10


def series(losses: list[float]) -> tuple[list[int], list[float]]:
    return [EVERY * (number + 1) for number in range(len(losses))], losses


FALLING = [2.0, 1.5, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2]


def test_told_with_steps_and_figures() -> None:
    found = overfitting(series(FALLING[:6]), series([1.9, 1.6, 1.5, 1.52, 1.56, 1.6]))
    assert found
    assert "from 1.5 at step 30 to 1.6 at step 60" in found
    assert "fell from 1.2 to 0.6" in found
    assert "training.earlyStopping" in found
    assert len(found) <= 300


@pytest.mark.parametrize(
    ("why", "train", "evaluated"),
    [
        ("too few evaluations", FALLING, [1.5, 1.6, 1.7]),
        ("one of them fell", FALLING, [1.9, 1.5, 1.6, 1.59, 1.7]),
        ("within the margin", FALLING, [1.9, 1.5, 1.505, 1.51, 1.52]),
        ("training gets worse too", FALLING[::-1], [1.9, 1.5, 1.6, 1.7, 1.8]),
        ("nothing was measured", FALLING, []),
        ("no training loss was logged", [], [1.9, 1.5, 1.6, 1.7, 1.8]),
    ],
)
def test_not_told(why: str, train: list[float], evaluated: list[float]) -> None:
    assert overfitting(series(train[: len(evaluated)]), series(evaluated)) is None, why


def false_alarms(noise: float, evaluations: int = 30, runs: int = 500) -> float:
    """Share of runs told at some time, whose loss on eval has settled and only trembles."""
    rng, told = random.Random(0), 0
    for _ in range(runs):
        train = series([2 - number / evaluations for number in range(evaluations)])
        losses = [1 + rng.gauss(0, noise) for _ in range(evaluations)]
        told += any(
            overfitting(train, (train[0][:n], losses[:n])) for n in range(1, evaluations + 1)
        )
    return told / runs


def test_noise_below_the_margin_is_no_alarm() -> None:
    """The figures of docs/overfitting.md."""
    assert false_alarms(0.002) == 0
    assert false_alarms(0.01) < 0.05
    assert 0.05 < false_alarms(0.02) < 0.2  # what the page warns of


@pytest.mark.parametrize("log_every", [5, 1000])
def test_a_model_that_learns_by_heart_is_told(log_every: int, tmp_path: Path) -> None:
    """A few rows, over and over, and others to measure on."""
    fit = Fit(
        tmp_path,
        settings={
            "maxSteps": 60,
            "learningRate": 0.01,
            "gradientAccumulationSteps": 1,
            "evalEverySteps": 5,
            "logEverySteps": log_every,
            "saveEverySteps": 100,
            "scheduler": "constant",
        },
        items=rows(4, seed=1),
        eval_items=rows(16, seed=77),
    )
    fit()
    assert "learns its examples by heart" in (fit.reporter._report.overfitting or "")
