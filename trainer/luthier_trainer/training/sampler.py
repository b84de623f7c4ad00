"""The order of batches: a pure function of seed and epoch, never of a global state.

So a resumed run sees the very batches that an undisturbed one would have seen.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

# Batches whose examples are sorted by length together. Of more there is less padding, but batches
# are less random: of 50, as is usual, short trainings of an encoder end worse (docs/measured.md).
_GROUP_BATCHES = 8
# An example, or the examples of a packed row.
Key = int | tuple[int, ...]
Batches = list[list[Key]]
# The batches of an epoch.
Plan = Callable[[int], Batches]
# (lengths, longest row, seed, epoch) → rows: indices of examples that fit in together.
Pack = Callable[[Sequence[int], int, int, int], list[list[int]]]


def shuffled(count: int, batch_size: int, seed: int, epoch: int) -> Batches:
    """Indices of each batch of an epoch: every example once, in random order.

    The last batch of the epoch is the one that may be smaller.
    """
    order: list[Key] = list(range(count))
    _random(seed, epoch).shuffle(order)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def grouped(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> Batches:
    """As `shuffled`, but of similar length together: less padding."""
    rng = _random(seed, epoch)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    full_count = len(order) // batch_size * batch_size
    full: Batches = []
    group_size = batch_size * _GROUP_BATCHES
    for start in range(0, full_count, group_size):
        group = sorted(order[start : min(start + group_size, full_count)], key=lengths.__getitem__)
        batches: Batches = [
            list(group[i : i + batch_size]) for i in range(0, len(group), batch_size)
        ]
        rng.shuffle(batches)
        full += batches
    rest: list[Key] = list(order[full_count:])
    return [*full, rest] if rest else full


class PackedBatches:
    """Batches of packed rows of at most `max_length` tokens.

    First-fit decreasing makes of the same lengths as many rows in any order of those that are
    equal, so that every epoch has as many batches. The rows are dealt out evenly.
    """

    def __init__(
        self, lengths: Sequence[int], max_length: int, batch_size: int, seed: int, pack: Pack
    ) -> None:
        self._lengths = lengths
        self._max_length = max_length
        self._seed = seed
        self._pack = pack
        self._batch_size = batch_size

    def __call__(self, epoch: int) -> Batches:
        rows = self._pack(self._lengths, self._max_length, self._seed, epoch)
        count = -(-len(rows) // self._batch_size)
        bounds = [number * len(rows) // count for number in range(count + 1)]
        return [[tuple(row) for row in rows[a:b]] for a, b in pairwise(bounds)]


class EpochBatches:
    """The batch sampler of a DataLoader, told by the training loop where it stands.

    Of the batches of each step the process `rank` of `size` takes every one of `size`: so a step
    learns from the same rows, however many processes share them.
    """

    def __init__(
        self, plan: Plan, batch_size: int, per_step: int = 1, rank: int = 0, size: int = 1
    ) -> None:
        self._plan = lru_cache(maxsize=1)(plan)
        self.batch_size = batch_size
        self._per_step, self._rank, self._size = per_step, rank, size
        self._epoch = self._first = 0

    def begin(self, epoch: int, batches: int = 0) -> None:
        """The next iteration is that of this epoch, behind so many of its batches."""
        self._epoch, self._first = epoch, batches

    def __iter__(self) -> Iterator[list[Key]]:
        batches = self._plan(self._epoch)
        for start in range(self._first, len(batches), self._per_step):
            yield from batches[start : start + self._per_step][self._rank :: self._size]

    def __len__(self) -> int:
        return len(self._plan(self._epoch))


def _random(seed: int, epoch: int) -> random.Random:
    return random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
