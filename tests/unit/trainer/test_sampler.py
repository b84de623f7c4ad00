"""The order of batches."""

import random

from luthier_trainer.sampler import EpochBatches, batches

LENGTHS = random.Random(1).choices(range(5, 60), k=1003)


def test_every_example_once() -> None:
    order = batches(LENGTHS, 8, seed=1, epoch=0)
    assert sorted(index for batch in order for index in batch) == list(range(1003))
    assert [len(batch) for batch in order] == [8] * 125 + [3]


def test_a_function_of_seed_and_epoch_alone() -> None:
    first = batches(LENGTHS, 8, seed=1, epoch=2)
    random.seed(99)
    assert batches(LENGTHS, 8, seed=1, epoch=2) == first
    assert batches(LENGTHS, 8, seed=1, epoch=3) != first
    assert batches(LENGTHS, 8, seed=2, epoch=2) != first


def test_the_sampler_follows_the_epoch() -> None:
    sampler = EpochBatches(LENGTHS, 8, seed=1)
    assert len(sampler) == 126
    for epoch in (0, 3):
        sampler.set_epoch(epoch)
        assert list(sampler) == batches(LENGTHS, 8, seed=1, epoch=epoch)


def test_little_padding_and_no_order_by_length() -> None:
    order = batches(LENGTHS, 8, seed=1, epoch=0)
    padded = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in order)
    assert padded < 1.1 * sum(LENGTHS)
    means = [sum(LENGTHS[i] for i in batch) / len(batch) for batch in order]
    assert means != sorted(means)
    assert abs(sum(means[:40]) / 40 - sum(means[-40:]) / 40) < 12
