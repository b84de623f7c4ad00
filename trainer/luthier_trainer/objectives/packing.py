"""Which examples go into one row: as many as fill it."""

import random
from collections.abc import Sequence

import numpy as np

from luthier_trainer.objectives.firstfit import first_fit


def pack(lengths: Sequence[int], max_length: int, seed: int, epoch: int) -> list[list[int]]:
    """Rows of indices whose lengths sum up to at most `max_length`: first-fit decreasing.

    Every index is in one row; one that is longer than a row has its own. Which examples of
    one length come first, and the order of rows, follow from seed and epoch alone.
    """
    rng = random.Random(f"{seed}/{epoch}/pack")  # noqa: S311 - an order, not a secret
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order.sort(key=lambda index: -min(lengths[index], max_length))
    sizes = np.clip(np.array([lengths[index] for index in order], np.int64), 1, max_length)
    placed = first_fit(sizes, max_length)
    rows: list[list[int]] = [[] for _ in range(int(placed.max(initial=-1)) + 1)]
    for index, row in zip(order, placed.tolist(), strict=True):
        rows[row].append(index)
    for each in rows:
        rng.shuffle(each)
    rng.shuffle(rows)
    return rows
