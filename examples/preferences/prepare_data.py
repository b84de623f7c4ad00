"""Answers to "What is …?" of which one is better: to the point, and of the right thing.

Source: WordNet 3.0 (Debian package `wordnet-base`; licence: WordNet's, permissive). The chosen
answer is the definition of a noun of one meaning. Of the rejected ones a half is the same
definition among phrases that say nothing, as chat models like them; a half is the definition of
something else of the same kind. Rows are as TRL's conversational ones: prompt, chosen and rejected
as lists of messages. No word is in both splits.
"""

import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, Synset, options, read_nouns, write_splits

# Before and behind an answer.
PADDING = (
    ("That's a great question! ", ". I hope this helps!"),
    ("Sure! As an AI language model I can tell you that it is ", "."),
    ("Well, there are many ways to look at it, but in short: ", ""),
    ("", ". Let me know if you have any other questions!"),
)


def rows(pool: list[Synset], count: int, rng: random.Random) -> list[Row]:
    """One for each of the first of the pool."""
    kinds = defaultdict(list)
    for synset in pool:
        kinds[synset.label].append(synset)
    found = []
    for number, synset in enumerate(pool[:count]):
        if number % 2:
            before, behind = rng.choice(PADDING)
            worse = f"{before}{synset.definition}{behind}"
        else:
            others = [each for each in kinds[synset.label] if each.words[0] != synset.words[0]]
            worse = rng.choice(others or pool).definition
        found.append(
            {
                "prompt": [{"role": "user", "content": f"What is {synset.words[0]}?"}],
                "chosen": [{"role": "assistant", "content": synset.definition}],
                "rejected": [{"role": "assistant", "content": worse}],
            }
        )
    return found


def main() -> None:
    chosen = options(__doc__, 2000, 300)
    rng = random.Random(chosen.seed)  # noqa: S311 - a sample, not a secret
    synsets = list(read_nouns().values())
    meanings = Counter(word.lower() for synset in synsets for word in synset.words)
    pool = [
        synset
        for synset in synsets
        if meanings[synset.words[0].lower()] == 1
        and not synset.instance_of
        and 16 <= len(synset.definition) <= 120
    ]
    rng.shuffle(pool)
    border = len(pool) // 5
    test = rows(pool[:border], chosen.test_rows, rng)
    train = rows(pool[border:], chosen.train_rows, rng)
    write_splits(chosen.output, train, test)


if __name__ == "__main__":
    main()
