"""Intervals from counts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from luthier_trainer.evaluation.bootstrap import Interval, counts, intervals, point, resample
from luthier_trainer.evaluation.metrics import summed
from luthier_trainer.evaluation.texts import means

Floats = NDArray[np.float64]


def mean_of(values: Floats):  # type: ignore[no-untyped-def]
    return summed(np.stack([values, np.ones(len(values))], axis=1), means)


def test_each_resample_draws_as_many_examples_as_there_are() -> None:
    rows = np.concatenate(list(counts(50, resamples=300, seed=1)))
    assert rows.shape == (300, 50)
    assert (rows.sum(axis=1) == 50).all()
    assert rows.min() == 0
    # Binomial(50, 1/50): variance 0.98.
    assert rows.var() == pytest.approx(0.98, abs=0.05)


@pytest.mark.parametrize("cells", [1, 50 * 7, 10**6])
def test_the_seed_alone_decides(cells: int) -> None:
    """Not how many are held at once."""
    expected = np.concatenate(list(counts(51, resamples=99, seed=5)))
    found = np.concatenate(list(counts(51, resamples=99, seed=5, cells=cells)))
    np.testing.assert_array_equal(found, expected)
    other = np.concatenate(list(counts(51, resamples=99, seed=6)))
    assert (other != expected).any()


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, size=400)
    (drawn,) = resample([mean_of(values)], 400)
    (found,) = intervals(drawn, 400)
    error = 1.96 * values.std() / 20
    assert isinstance(found, Interval)
    assert found.low == pytest.approx(values.mean() - error, abs=0.25 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.25 * error)
    assert point(mean_of(values), 400)[0] == pytest.approx(values.mean())


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        (drawn,) = resample([mean_of(rng.exponential(1, size=100))], 100, 200, seed)
        (found,) = intervals(drawn, 100)
        assert isinstance(found, Interval)
        held += found.low <= 1 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_pairing_takes_out_what_both_share() -> None:
    """Hard and easy examples cancel out, as both sides have the same resamples."""
    rng = np.random.default_rng(2)
    base = rng.normal(0, 5, size=200)
    tuned = base + rng.normal(0.5, 0.2, size=200)
    drawn = resample([mean_of(base), mean_of(tuned)], 200)
    (change,) = intervals(drawn[1] - drawn[0], 200)
    (alone,) = intervals(drawn[1], 200)
    assert isinstance(change, Interval)
    assert isinstance(alone, Interval)
    assert 0.4 < change.low < 0.5 < change.high < 0.6
    assert alone.high - alone.low > 10 * (change.high - change.low)


def test_what_is_never_defined_has_no_interval() -> None:
    values = np.array([[np.nan, 1.0], [np.nan, np.nan], [2.0, 3.0]])
    undefined, found = intervals(values, 30)
    assert undefined == "it isn't defined in most samples of the rows"
    assert found == Interval(pytest.approx(1.05), pytest.approx(2.95))
