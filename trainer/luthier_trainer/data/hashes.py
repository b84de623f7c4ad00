"""The rows of a dataset as hashes, so that two states of it can be compared. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier_api.retraining import RowChanges

# So many are kept, of 8 bytes each; of more rows those whose hash begins with so many zeros, which
# is a sample that any two states draw alike.
MOST = 1 << 20


@dataclass(frozen=True)
class RowHashes:
    """Of `total` rows those whose hash begins with `zeros` bits of 0, sorted."""

    total: int
    zeros: int
    kept: NDArray[np.uint64]

    def sampled(self, zeros: int) -> NDArray[np.uint64]:
        """Those that begin with more zeros, or as many."""
        return self.kept[: np.searchsorted(self.kept, _end(zeros))] if zeros else self.kept


NO_ROWS = RowHashes(0, 0, np.zeros(0, np.uint64))


def row_hashes(hashes: NDArray[np.uint64], most: int = MOST) -> RowHashes:
    """Of every row, each as often as it occurs."""
    zeros, kept = 0, hashes
    while len(kept) > most and zeros < 63:
        zeros += 1
        kept = kept[kept < _end(zeros)]
    return RowHashes(len(hashes), zeros, np.sort(kept))


def compare(before: RowHashes, now: RowHashes) -> RowChanges:
    """Rows that are new, or gone; of a sample, as many as it stands for."""
    zeros = max(before.zeros, now.zeros)
    old, new = before.sampled(zeros), now.sampled(zeros)
    (old_rows, old_counts), (new_rows, new_counts) = (
        np.unique(it, return_counts=True) for it in (old, new)
    )
    _, at_old, at_new = np.intersect1d(old_rows, new_rows, assume_unique=True, return_indices=True)
    same = int(np.minimum(old_counts[at_old], new_counts[at_new]).sum())
    return RowChanges(
        total=now.total,
        new=min(now.total, (len(new) - same) << zeros),
        gone=min(before.total, (len(old) - same) << zeros),
    )


def _end(zeros: int) -> np.uint64:
    """The first hash that begins with fewer zeros."""
    return np.uint64(1 << (64 - zeros))
