"""First-fit decreasing: which row each text goes into, so that few rows hold them all. Pure."""

import numpy as np
from numpy.typing import NDArray


def first_fit(lengths: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The row of each text, of those that are given the longest first, 1 to `most` tokens each:
    the first row that has room for it, else a new one.

    Texts of one length fill row after row, so that each length is one step over all rows.
    """
    found = np.empty(len(lengths), np.int64)
    room = np.empty(0, np.int64)
    bounds = np.flatnonzero(np.diff(lengths, prepend=0, append=0))
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        length, count = int(lengths[begin]), end - begin
        per_row = most // length
        opened = len(room)
        room = np.concatenate([room, np.full(-(-count // per_row), most, np.int64)])
        # Row after row as many as it has room for.
        rows = np.searchsorted(np.cumsum(room // length), np.arange(count), side="right")
        found[begin:end] = rows
        room -= length * np.bincount(rows, minlength=len(room))
        room = room[: max(opened, int(rows[-1]) + 1)]
    return found
