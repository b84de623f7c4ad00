"""The order of batches: a pure function of seed and epoch, never of a global state.

So a resumed run sees the very batches that an undisturbed one would have seen.
"""

import random
from collections.abc import Iterator, Sequence

# Batches whose examples are sorted by length together: enough for little padding, few
# enough that batches stay random.
_GROUP_BATCHES = 50


def batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of each batch of an epoch: every example once, of similar length together.

    The last batch of the epoch is the one that may be smaller.
    """
    rng = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    order = list(range(len(lengths)))
    rng.shuffle(order)
    full_count = len(order) // batch_size * batch_size
    full: list[list[int]] = []
    group_size = batch_size * _GROUP_BATCHES
    for start in range(0, full_count, group_size):
        group = sorted(order[start : min(start + group_size, full_count)], key=lengths.__getitem__)
        full += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
    rng.shuffle(full)
    rest = order[full_count:]
    return [*full, rest] if rest else full


class EpochBatches:
    """The batch sampler of a DataLoader, told the epoch by the training loop."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self.batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        return iter(batches(self._lengths, self.batch_size, self._seed, self._epoch))

    def __len__(self) -> int:
        return -(-len(self._lengths) // self.batch_size)
