"""Definitions and their word class: is it a noun that is defined, a verb, adjective or adverb?

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). The labels
are WordNet's own: the file that each synset is in. Each class comes equally often, so that a
guess is right once in four times. Left out are definitions that two classes share, very short
ones, and what stands behind a definition as an example of use: it would tell the class.
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import WORDNET, Row, options, write_splits

FILES = {
    "data.noun": "noun",
    "data.verb": "verb",
    "data.adj": "adjective",
    "data.adv": "adverb",
}
SHORTEST = 16


def definitions(path: Path) -> list[str]:
    """Those of a file of synsets (wndb(5WN))."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: apt-get install wordnet-base")
    lines = path.read_text(encoding="utf-8").splitlines()
    glosses = (line.split("|", 1)[1] for line in lines if not line.startswith("  "))  # the licence
    return [gloss.split('; "')[0].strip() for gloss in glosses]


def by_class(folder: Path = WORDNET) -> dict[str, list[str]]:
    """Definitions by word class, each once and of one class alone."""
    labels = defaultdict(set)
    for name, label in FILES.items():
        for definition in definitions(folder / name):
            labels[definition].add(label)
    found: dict[str, list[str]] = {label: [] for label in FILES.values()}
    for definition, classes in sorted(labels.items()):
        if len(classes) == 1 and len(definition) >= SHORTEST:
            found[classes.pop()].append(definition)
    return found


def draw(
    found: dict[str, list[str]], train_rows: int, test_rows: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """Disjoint train and test rows, both with every class equally often."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    train: list[Row] = []
    test: list[Row] = []
    tested, trained = test_rows // len(found), train_rows // len(found)
    for label, all_of_it in found.items():
        drawn = rng.sample(all_of_it, tested + trained)
        rows = [{"gloss": definition, "label": label} for definition in drawn]
        test += rows[:tested]
        train += rows[tested:]
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


if __name__ == "__main__":
    asked = options(__doc__, 4000, 120)
    write_splits(asked.output, *draw(by_class(), asked.train_rows, asked.test_rows, asked.seed))
