"""The order of batches."""

import random
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier_trainer.objectives.firstfit import first_fit
from luthier_trainer.objectives.packing import pack
from luthier_trainer.training.sampler import EpochBatches, PackedBatches, grouped, shuffled

LENGTHS = random.Random(1).choices(range(5, 60), k=1003)
PLANS = {
    "grouped": lambda seed: partial(grouped, LENGTHS, 8, seed),
    "shuffled": lambda seed: partial(shuffled, len(LENGTHS), 8, seed),
    "packed": lambda seed: PackedBatches(LENGTHS, 128, 8, seed, pack),
}


@pytest.mark.parametrize("kind", ["grouped", "shuffled"])
def test_every_example_once(kind: str) -> None:
    order = PLANS[kind](1)(0)
    assert sorted(index for batch in order for index in batch) == list(range(1003))
    assert [len(batch) for batch in order] == [8] * 125 + [3]


@pytest.mark.parametrize("kind", PLANS)
def test_a_function_of_seed_and_epoch_alone(kind: str) -> None:
    first = PLANS[kind](1)(2)
    random.seed(99)
    assert PLANS[kind](1)(2) == first
    assert PLANS[kind](1)(3) != first
    assert PLANS[kind](2)(2) != first


@pytest.mark.parametrize("kind", PLANS)
def test_the_sampler_follows_the_epoch(kind: str) -> None:
    plan = PLANS[kind](1)
    sampler = EpochBatches(plan, 8)
    for epoch in (0, 3):
        sampler.begin(epoch)
        assert list(sampler) == plan(epoch)
        assert len(sampler) == len(plan(epoch))


def test_less_padding_and_no_order_by_length() -> None:
    def padding(kind: str) -> int:
        order = PLANS[kind](1)(0)
        return sum(max(LENGTHS[i] for i in each) - LENGTHS[j] for each in order for j in each)

    assert padding("grouped") < padding("shuffled") / 4
    means = [sum(LENGTHS[i] for i in batch) / len(batch) for batch in PLANS["grouped"](1)(0)]
    assert means != sorted(means)


def test_a_few_batches_are_of_all_lengths() -> None:
    """A short training, too, sees them all."""
    order = PLANS["grouped"](1)(0)
    whole = sum(LENGTHS) / len(LENGTHS)
    for start in range(0, 120, 8):
        few = [sum(LENGTHS[i] for i in batch) / 8 for batch in order[start : start + 8]]
        assert sum(few) / 8 == pytest.approx(whole, abs=8)
        assert max(few) - min(few) > 30
        assert few != sorted(few)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_packed_rows_are_as_many_batches_in_every_epoch(batch_size: int) -> None:
    plan = PackedBatches(LENGTHS, 128, batch_size, 1, pack)
    counts = set()
    for epoch in range(12):
        order = plan(epoch)
        counts.add(len(order))
        assert all(order)
        assert max(map(len, order)) <= batch_size
        rows = [row for batch in order for row in batch]
        assert sorted(i for row in rows for i in row) == list(range(1003))
        assert all(sum(LENGTHS[i] for i in row) <= 128 for row in rows)
    assert len(counts) == 1


def one_by_one(lengths: list[int], most: int) -> list[int]:
    """First-fit decreasing as it is written down: each text in the first row that has room."""
    room: list[int] = []
    found = []
    for length in lengths:
        row = next((at for at, left in enumerate(room) if left >= length), len(room))
        room += [most] * (row == len(room))
        room[row] -= length
        found.append(row)
    return found


@given(st.lists(st.integers(1, 40), max_size=120), st.integers(40, 60))
def test_first_fit_by_length_is_first_fit_one_by_one(lengths: list[int], most: int) -> None:
    lengths.sort(reverse=True)
    assert first_fit(np.array(lengths, np.int64), most).tolist() == one_by_one(lengths, most)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(0, 5))
def test_rows_are_as_many_in_any_epoch(lengths: list[int], seed: int) -> None:
    """As the training loop counts on; no two epochs need to be packed to know it."""
    packed = [pack(lengths, 32, seed, epoch) for epoch in range(4)]
    assert len(set(map(len, packed))) == 1
    for rows in packed:
        assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
        assert all(len(row) == 1 or sum(lengths[i] for i in row) <= 32 for row in rows)
