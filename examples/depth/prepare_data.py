"""Definitions of nouns, and how special what they define is: a number.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). The number is
how many steps it is, from kind to kind by the shortest way, to `entity`, which all nouns are.
"""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, options, read_nouns, write


def rows() -> list[Row]:
    nouns = read_nouns()

    @cache
    def depth(identity: str) -> int:
        above = nouns[identity].above + nouns[identity].instance_of
        return 1 + min(map(depth, above)) if above else 0

    found = {each.definition: depth(each.id) for each in nouns.values()}
    return [{"text": text, "depth": number} for text, number in found.items() if len(text) >= 16]


if __name__ == "__main__":
    write(rows(), options(__doc__, 8000, 1000))
