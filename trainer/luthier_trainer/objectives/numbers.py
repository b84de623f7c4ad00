"""Items as rows of int32, as they lie on disk: some single numbers, then sequences of them."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence


def joined(single: Sequence[int], *sequences: Sequence[int]) -> array[int]:
    """[the single numbers, the length of each sequence, the sequences]."""
    numbers = array("i", [*single, *map(len, sequences)])
    for sequence in sequences:
        numbers.extend(sequence)
    return numbers


def parted(numbers: array[int], single: int, sequences: int) -> tuple[array[int], list[array[int]]]:
    """What was joined: so many single numbers, and so many sequences."""
    begin = single + sequences
    found = []
    for length in numbers[single:begin]:
        found.append(numbers[begin : begin + length])
        begin += length
    return numbers[:single], found


def halves(value: float) -> tuple[int, int]:
    """The bits of a float as two numbers."""
    first, second = struct.unpack("<ii", struct.pack("<d", value))
    return first, second


def whole(first: int, second: int) -> float:
    """The float of its halves."""
    value: float = struct.unpack("<d", struct.pack("<ii", first, second))[0]
    return value
