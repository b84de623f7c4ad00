"""Names in definitions, with what they name: PERSON, LOCATION or NATURE.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive).

The tags are silver: looked up, not read by anyone. WordNet knows 14,000 names (synsets that are
an instance of another) and their class: person; location (countries, cities); object, here
NATURE (continents, rivers, mountains, stars). Each definition is searched for names, the
longest first. So that what is not tagged is not a name either, a definition is left out when

- it has a name of several classes (Washington), or of another one (a language, a war), or
- it has a capitalised word outside of names that is no adjective or common noun of WordNet
  (French, Christian): probably a name that WordNet doesn't list.

As many definitions without a name are kept. What is wrong with such tags: a name in another
expression is tagged as if it stood alone ("South African plants": South is a LOCATION).
"""

import random
import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import WORDNET, Row, Synset, options, read_nouns, write

TAGS = {"person": "PERSON", "location": "LOCATION", "object": "NATURE"}
_WORD = re.compile(r"\w+(?:['.-]\w+)*|[^\w\s]")
_LONGEST = 6  # words of a name

Words = tuple[str, ...]


def split(text: str) -> Words:
    return tuple(_WORD.findall(text))


def read_names(nouns: list[Synset]) -> dict[Words, str | None]:
    """Tag of each name; None where it has several, or one of a class that isn't asked for."""
    classes = defaultdict(set)
    for synset in nouns:
        if synset.instance_of:
            for word in synset.words:
                classes[split(word)].add(TAGS.get(synset.label))
    return {
        name: found.pop() if len(found) == 1 else None
        for name, found in classes.items()
        if name[0][:1].isupper()
    }


def read_capitalised(nouns: list[Synset], folder: Path) -> set[str]:
    """Capitalised words that are no names: American, Christian, Monday."""
    words = {word for synset in nouns if not synset.instance_of for word in synset.words}
    for line in (folder / "data.adj").read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            head = line.split("|", 1)[0].split()
            words.update(head[4 : 4 + 2 * int(head[3], 16) : 2])
    # Adjectives may carry a marker of their place: Dutch(a).
    return {word.split("(")[0] for word in words if word[:1].isupper()}


def tag(words: Words, names: dict[Words, str | None], common: set[str]) -> list[str] | None:
    """A tag for each word, or None where one can't be told."""
    tags: list[str] = []
    while len(tags) < len(words):
        start = len(tags)
        longest = min(_LONGEST, len(words) - start)
        found = next((n for n in range(longest, 0, -1) if words[start : start + n] in names), 0)
        if found:
            kind = names[words[start : start + found]]
            if kind is None:
                return None
            tags += [f"B-{kind}", *[f"I-{kind}"] * (found - 1)]
        elif words[start][:1].isupper() and words[start] not in common:
            return None
        else:
            tags.append("O")
    return tags


def rows(seed: int) -> list[Row]:
    nouns = list(read_nouns().values())
    names, common = read_names(nouns), read_capitalised(nouns, WORDNET)
    tagged, plain = [], []
    for text in sorted({synset.definition for synset in nouns}):
        words = split(text)
        tags = tag(words, names, common) if 4 <= len(words) <= 60 else None
        if tags:
            row = {"tokens": list(words), "tags": tags}
            (plain if set(tags) == {"O"} else tagged).append(row)
    random.Random(seed).shuffle(plain)  # noqa: S311 - a sample, not a secret
    return tagged + plain[: len(tagged)]


if __name__ == "__main__":
    chosen = options(__doc__, 6000, 800)
    write(rows(chosen.seed), chosen)
