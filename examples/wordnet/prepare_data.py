"""WordNet's noun glosses as a classification dataset: which of ten classes is defined?

Reads the `data.noun` of WordNet 3.0 (Debian package `wordnet-base`; format: wndb(5WN),
classes: lexnames(5WN)) and writes `train.jsonl` and `test.jsonl`, one
`{"gloss": …, "label": …}` a line. The same seed gives the same bytes.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

# Lexicographer files of nouns, by their number.
CLASSES = {
    4: "act",
    5: "animal",
    6: "artifact",
    8: "body",
    10: "communication",
    13: "food",
    15: "location",
    18: "person",
    20: "plant",
    27: "substance",
}
SHORTEST_GLOSS = 16


def read_glosses(path: Path) -> Iterator[tuple[str, str]]:
    """(gloss, class) of each noun of the ten classes."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("  "):  # the licence
                continue
            head, gloss = line.split("|", 1)
            label = CLASSES.get(int(head.split()[1]))
            if label and len(gloss.strip()) >= SHORTEST_GLOSS:
                yield gloss.strip(), label


def unambiguous(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Glosses by class, each once; a gloss that two classes share is left out."""
    labels: dict[str, set[str]] = defaultdict(set)
    for gloss, label in pairs:
        labels[gloss].add(label)
    by_class: dict[str, list[str]] = defaultdict(list)
    for gloss, found in labels.items():
        if len(found) == 1:
            by_class[found.pop()].append(gloss)
    return by_class


def draw(
    by_class: dict[str, list[str]], train_rows: int, test_rows: int, seed: int
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Disjoint train and test rows, both with every class equally often."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    train, test = [], []
    for label in sorted(by_class):
        glosses = by_class[label]
        rng.shuffle(glosses)
        test_share, train_share = test_rows // len(by_class), train_rows // len(by_class)
        rows = [{"gloss": gloss, "label": label} for gloss in glosses[: test_share + train_share]]
        test += rows[:test_share]
        train += rows[test_share:]
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), metavar="DIR")
    parser.add_argument("--train-rows", type=int, default=4500)
    parser.add_argument("--test-rows", type=int, default=300)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()

    by_class = unambiguous(read_glosses(options.wordnet / "data.noun"))
    train, test = draw(by_class, options.train_rows, options.test_rows, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    write_jsonl(options.output / "train.jsonl", train)
    write_jsonl(options.output / "test.jsonl", test)
    print(f"{options.output}: {len(train)} train and {len(test)} test rows")


if __name__ == "__main__":
    main()
