"""What the examples' `prepare_data.py` share: WordNet's nouns, and the files they write."""

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDNET = Path("/usr/share/wordnet")

# Lexicographer files of nouns, by their number (lexnames(5WN)).
CLASSES = {
    3: "top",
    4: "act",
    5: "animal",
    6: "artifact",
    7: "attribute",
    8: "body",
    9: "cognition",
    10: "communication",
    11: "event",
    12: "feeling",
    13: "food",
    14: "group",
    15: "location",
    16: "motive",
    17: "object",
    18: "person",
    19: "phenomenon",
    20: "plant",
    21: "possession",
    22: "process",
    23: "quantity",
    24: "relation",
    25: "shape",
    26: "state",
    27: "substance",
    28: "time",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Synset:
    """Nouns of one meaning. `above`: what they are a kind of; `instance_of`: what they, being
    names, are one of (ids of other synsets)."""

    id: str
    label: str
    words: tuple[str, ...]
    above: tuple[str, ...]
    instance_of: tuple[str, ...]
    definition: str


def read_nouns(folder: Path = WORDNET) -> dict[str, Synset]:
    """WordNet 3.0's nouns by id: `data.noun` of Debian's package `wordnet-base` (wndb(5WN))."""
    path = folder / "data.noun"
    if not path.exists():
        raise SystemExit(f"{path} is missing: apt-get install wordnet-base")
    lines = path.read_text(encoding="utf-8").splitlines()
    synsets = (_synset(line) for line in lines if not line.startswith("  "))  # the licence
    return {synset.id: synset for synset in synsets}


def _synset(line: str) -> Synset:
    head, gloss = line.split("|", 1)
    identity, number, _, count, *rest = head.split()
    words, pointers = rest[: 2 * int(count, 16) : 2], rest[2 * int(count, 16) + 1 :]
    links = list(zip(pointers[::4], pointers[1::4], strict=False))
    return Synset(
        id=identity,
        label=CLASSES[int(number)],
        words=tuple(word.replace("_", " ") for word in words),
        above=tuple(target for kind, target in links if kind == "@"),
        instance_of=tuple(target for kind, target in links if kind == "@i"),
        definition=gloss.split('; "')[0].strip(),  # its examples come after
    )


def options(documentation: str | None, train_rows: int, test_rows: int) -> argparse.Namespace:
    """output, train_rows, test_rows and seed, from the command line."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--train-rows", type=int, default=train_rows)
    parser.add_argument("--test-rows", type=int, default=test_rows)
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Draw disjoint test and train rows, and write test.jsonl and train.jsonl.

    The same rows and seed give the same bytes.
    """
    drawn = list(rows)
    random.Random(options.seed).shuffle(drawn)  # noqa: S311 - a sample, not a secret
    test = drawn[: options.test_rows]
    train = drawn[options.test_rows :][: options.train_rows]
    if not train:
        raise SystemExit(f"there are {len(rows)} rows: ask for fewer of test")
    write_splits(options.output, train, test)


def write_splits(output: Path, train: Sequence[Row], test: Sequence[Row]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        with (output / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{output}: {len(train)} train and {len(test)} test rows")
