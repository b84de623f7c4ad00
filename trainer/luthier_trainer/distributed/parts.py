"""What each of several processes has of a tensor: rows that follow each other, as FSDP2 cuts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """One of `of` parts; the only one is the whole."""

    number: int = 0
    of: int = 1

    def rows(self, count: int) -> tuple[int, int]:
        """The first of `count` rows that are in it, and the one behind its last: the last parts may
        have fewer than the others, or none."""
        most = -(-count // self.of)
        return min(self.number * most, count), min((self.number + 1) * most, count)

    def cut(self, whole: Tensor) -> Tensor:
        """This part of a tensor, a view of it."""
        first, end = self.rows(len(whole))
        return whole[first:end]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """This part of what the pieces are in their order; a copy, where it isn't one of them."""
        first, end = self.rows(sum(map(len, pieces)))
        found, begin = [], 0
        for piece in pieces:
            rows = piece[max(first - begin, 0) : max(end - begin, 0)]
            begin += len(piece)
            if len(rows) == len(piece) == end - first:
                return piece
            found.append(rows)
        return torch.cat(found)
