"""Pairs of definitions and how alike what they define is, 0 to 1.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). The score is
Wu and Palmer's (https://aclanthology.org/P94-1019): twice the depth of the nearest common
ancestor in WordNet's tree of kinds, over the sum of both depths. A third of the pairs share
their parent, a third their class, a third are any two. No definition is in both splits.
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, Synset, options, read_nouns, write_splits

Nouns = dict[str, Synset]


class Tree:
    """WordNet's kinds of kinds."""

    def __init__(self, nouns: Nouns) -> None:
        self._nouns = nouns
        self._depths: dict[str, int] = {}

    def depth(self, identity: str) -> int:
        """Synsets on the shortest way to the root, both ends counted."""
        if identity not in self._depths:
            above = self._parents(identity)
            self._depths[identity] = 1 + min(map(self.depth, above), default=0)
        return self._depths[identity]

    def alike(self, one: str, other: str) -> float:
        """Wu and Palmer's score: 1 for the same synset."""
        common = self._ancestors(one) & self._ancestors(other)
        nearest = max(map(self.depth, common), default=0)
        return min(2 * nearest / (self.depth(one) + self.depth(other)), 1.0)

    def _parents(self, identity: str) -> tuple[str, ...]:
        return self._nouns[identity].above + self._nouns[identity].instance_of

    def _ancestors(self, identity: str) -> set[str]:
        found, waiting = {identity}, [identity]
        while waiting:
            new = set(self._parents(waiting.pop())) - found
            found |= new
            waiting += sorted(new)
        return found


def pairs(pool: list[Synset], count: int, tree: Tree, rng: random.Random) -> list[Row]:
    """`count` pairs of two different synsets of the pool."""
    families, classes = defaultdict(list), defaultdict(list)
    for synset in pool:
        classes[synset.label].append(synset)
        for parent in synset.above:
            families[parent].append(synset)
    siblings = [each for each in families.values() if len(each) > 1]
    same = [each for each in classes.values() if len(each) > 1]
    rows = []
    for number in range(count):
        group = (rng.choice(siblings), rng.choice(same), pool)[number % 3]
        one, other = rng.sample(group, 2)
        score = round(tree.alike(one.id, other.id), 4)
        rows.append({"first": one.definition, "second": other.definition, "score": score})
    return rows


def main() -> None:
    chosen = options(__doc__, 4000, 600)
    nouns = read_nouns()
    tree, rng = Tree(nouns), random.Random(chosen.seed)  # noqa: S311 - a sample, not a secret
    by_text = {synset.definition: synset for synset in nouns.values() if synset.above}
    pool = [synset for synset in by_text.values() if len(synset.definition) >= 16]
    rng.shuffle(pool)
    border = len(pool) // 5
    test = pairs(pool[:border], chosen.test_rows, tree, rng)
    train = pairs(pool[border:], chosen.train_rows, tree, rng)
    write_splits(chosen.output, train, test)


if __name__ == "__main__":
    main()
