"""Definitions of nouns and their class, for an encoder: which of 25 kinds of thing is it?

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). The labels
are WordNet's own: the lexicographer file that each synset is in. The classes are as uneven
there as here (14% are artifacts, 0.05% motives); `top`, of which there are 51, is left out, as
are definitions that two classes share.
"""

import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, options, read_nouns, write


def rows() -> list[Row]:
    labels = defaultdict(set)
    for synset in read_nouns().values():
        labels[synset.definition].add(synset.label)
    return [
        {"text": definition, "label": next(iter(found))}
        for definition, found in sorted(labels.items())
        if len(found) == 1 and "top" not in found and len(definition) >= 16
    ]


if __name__ == "__main__":
    write(rows(), options(__doc__, 8000, 1000))
