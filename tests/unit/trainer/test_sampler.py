"""The order of batches."""

import random
from functools import partial

import pytest
from unit.trainer.training_runs import pack_first_fit

from luthier_trainer.training.sampler import EpochBatches, PackedBatches, grouped, shuffled

LENGTHS = random.Random(1).choices(range(5, 60), k=1003)
PLANS = {
    "grouped": lambda seed: partial(grouped, LENGTHS, 8, seed),
    "shuffled": lambda seed: partial(shuffled, len(LENGTHS), 8, seed),
    "packed": lambda seed: PackedBatches(LENGTHS, 128, 8, seed, pack_first_fit),
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
    plan = PackedBatches(LENGTHS, 128, batch_size, 1, pack_first_fit)
    counts = set()
    for epoch in range(12):
        order = plan(epoch)
        counts.add(len(order))
        assert all(order)
        assert max(map(len, order)) <= batch_size + 1
        rows = [row for batch in order for row in batch]
        assert sorted(i for row in rows for i in row) == list(range(1003))
        assert all(sum(LENGTHS[i] for i in row) <= 128 for row in rows)
    assert len(counts) == 1
