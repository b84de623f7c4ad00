"""Definitions of what a word means, and the kinds of thing that they are: one or several of 25.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). A row has up to
three meanings of a noun, in any order, and the lexicographer files that these are in. No meaning is
in two rows.
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, Synset, options, read_nouns, write

MOST = 3


def rows(seed: int) -> list[Row]:
    words: dict[str, list[Synset]] = defaultdict(list)
    for synset in read_nouns().values():
        if synset.label != "top" and len(synset.definition) >= 16:
            for word in synset.words:
                words[word.lower()].append(synset)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    drawn = sorted(words)
    rng.shuffle(drawn)
    # Words of several meanings are few, and come first to what others mean, too.
    drawn.sort(key=lambda word: len(words[word]) == 1)
    taken: set[str] = set()
    found: list[Row] = []
    for word in drawn:
        meanings = words[word][:MOST]
        if taken.isdisjoint(each.definition for each in meanings):
            taken.update(each.definition for each in meanings)
            rng.shuffle(meanings)
            text = "; ".join(each.definition for each in meanings)
            found.append({"text": text, "kinds": sorted({each.label for each in meanings})})
    several = [row for row in found if len(row["kinds"]) > 1]
    return several + [row for row in found if len(row["kinds"]) == 1][: len(several)]


if __name__ == "__main__":
    chosen = options(__doc__, 8000, 1000)
    write(rows(chosen.seed), chosen)
