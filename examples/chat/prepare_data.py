"""Conversations of two turns: asked for a noun, a chat model answers in a dictionary's style.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). Only nouns
of one meaning are asked for, as a question about others has no one answer; names are left out.
"""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, options, read_nouns, write

SYSTEM = "You are a dictionary. Answer with one short definition."


def rows() -> list[Row]:
    synsets = list(read_nouns().values())
    meanings = Counter(word.lower() for synset in synsets for word in synset.words)
    return [
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"What is the meaning of “{synset.words[0]}”?"},
                {"role": "assistant", "content": synset.definition},
            ]
        }
        for synset in synsets
        if meanings[synset.words[0].lower()] == 1
        and not synset.instance_of
        and 20 <= len(synset.definition) <= 160
    ]


if __name__ == "__main__":
    write(rows(), options(__doc__, 4000, 100))
