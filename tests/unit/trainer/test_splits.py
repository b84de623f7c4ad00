"""Split expressions, shares and weights."""

import numpy as np
import pytest

from luthier_trainer.data.splits import divide, repeat, sample, select


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", range(10)),
        ("train[:90%]", range(9)),
        ("train[90%:]", range(9, 10)),
        ("train[2:5]", range(2, 5)),
        ("train[-3:]", range(7, 10)),
        ("train[:-3]", range(7)),
        ("train[25%:75%]", range(2, 8)),
    ],
)
def test_split_expressions(expression: str, expected: range) -> None:
    assert select(expression, {"train": range(10)}, "dataset.train") == expected


def test_percentages_that_meet_share_no_row() -> None:
    for count in range(2, 40):
        splits = {"train": range(count)}
        for percent in (10, 33, 50, 67, 90):
            if 0 < round(percent * count / 100) < count:
                first = select(f"train[:{percent}%]", splits, "p")
                second = select(f"train[{percent}%:]", splits, "p")
                assert [*first, *second] == list(splits["train"])


def test_a_share_keeps_the_balance_and_the_seed_decides() -> None:
    codes = np.array([i % 3 == 0 for i in range(300)], dtype=np.int64)
    rest, share = divide(300, 0.1, (codes, ["a", "b"]), seed=1)
    assert len(share) == 30
    assert codes[share].sum() == 10
    assert sorted([*rest, *share]) == list(range(300))
    assert (divide(300, 0.1, (codes, ["a", "b"]), seed=1)[1] == share).all()
    assert (divide(300, 0.1, (codes, ["a", "b"]), seed=2)[1] != share).any()


@pytest.mark.parametrize(("weight", "count"), [(1.0, 10), (2.0, 20), (0.5, 5), (2.3, 23)])
def test_weights(weight: float, count: int) -> None:
    taken = repeat(np.arange(10), weight, "1:0")
    assert len(taken) == count
    assert (repeat(np.arange(10), weight, "1:0") == taken).all()
    assert max(np.bincount(taken)) - min(np.bincount(taken, minlength=10)) <= 1


def test_a_sample_has_the_labels_shares_and_the_seed_decides() -> None:
    codes = np.repeat([2, 0, 1], [700, 290, 10])  # as a file that is sorted by label
    drawn = sample(codes, 100, "1")
    assert sorted(np.bincount(codes[drawn])) == [1, 29, 70]
    assert (np.diff(drawn) > 0).all()
    assert (sample(codes, 100, "1") == drawn).all()
    assert (sample(codes, 100, "2") != drawn).any()
    assert (sample(codes, 1000, "1") == range(1000)).all()


def test_a_sample_of_rows_without_labels_is_of_all_places() -> None:
    drawn = sample(np.full(10_000, -1), 1000, "1")
    assert (np.bincount(drawn // 1000) > 70).all()
    assert len(set(drawn.tolist())) == 1000
