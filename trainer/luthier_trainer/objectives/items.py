"""Encoded examples: how many are encoded at a time, and what is counted of them."""

import json
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.data.examples import (
    Answers,
    Chat,
    Completion,
    Example,
    Labelled,
    MultiLabelled,
    Pair,
    Tagged,
    Turn,
    Valued,
)
from luthier_trainer.objectives.objective import Item
from luthier_trainer.objectives.tokenstore import COUNTS

# What goes to the tokenizer in one call: of each token it makes some 100 bytes for a while.
_EXAMPLES, _CHARACTERS = 1024, 4 * 10**6
# Fewer than these are encoded in about a second.
FEW, FEW_CHARACTERS = 20_000, 2 * 10**6
# Above these, lengths were estimated before there were stores.
_ESTIMATED, _ESTIMATED_CHARACTERS = 200_000, 64 * 10**6
# What tokenizers read at each call.
_PARALLEL = "TOKENIZERS_PARALLELISM"

Encode = Callable[[Sequence[Any]], Sequence[Any]]


def encoded(examples: Sequence[Example], encode: Encode) -> list[Any]:
    """`encode` of all examples: their items, in order."""
    return [item for some in in_batches(examples, encode) for item in some]


def in_batches(examples: Sequence[Example], encode: Encode) -> Iterator[Sequence[Any]]:
    """The same, batch by batch; of the examples, too, there is no more than a batch at a time."""
    for batch in _batches(examples):
        with _all_threads():
            found = encode(batch)
        yield found


def few(examples: Sequence[Example]) -> bool:
    """Whether encoding them takes no time to speak of."""
    return _within(examples, FEW, FEW_CHARACTERS)


def were_estimated(examples: Sequence[Example]) -> bool:
    """Whether a run that was begun without a store of tokens has batches by estimated lengths."""
    return not _within(examples, _ESTIMATED, _ESTIMATED_CHARACTERS)


def _within(examples: Sequence[Example], most: int, most_characters: int) -> bool:
    if len(examples) > most:
        return False
    so_far = accumulate(characters(examples[index]) for index in range(len(examples)))
    return all(total <= most_characters for total in so_far)


def _batches(examples: Sequence[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    size = 0
    for index in range(len(examples)):
        example = examples[index]
        more = characters(example)
        if batch and (len(batch) == _EXAMPLES or size + more > _CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(example)
        size += more
    if batch:
        yield batch


@contextmanager
def _all_threads() -> Iterator[None]:
    """The tokenizer may use as many as the pod has CPUs (RAYON_NUM_THREADS): not otherwise, as it
    would hang in a process that is forked from one in which it did."""
    before = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = before


def counts(items: Sequence[Item]) -> NDArray[np.void]:
    """What is counted of each item: COUNTS [items]. Stores, and what is made of them, have it."""
    known: NDArray[np.void] | None = getattr(items, "counts", None)
    if known is not None:
        return known
    return np.array([count(items[index]) for index in range(len(items))], COUNTS)


def count(item: Any) -> tuple[int, int, int, int, int]:
    """A line of `counts`."""
    return (
        len(item),
        item.cut,
        getattr(item, "learnt_count", -1),
        getattr(item, "turns_cut", 0),
        getattr(item, "continues", False),
    )


def lengths(items: Sequence[Item]) -> Sequence[int]:
    """Tokens of each item."""
    known: Sequence[int] | None = getattr(items, "lengths", None)
    if known is not None:
        return known
    return array("i", map(len, items))


def begins(items: Sequence[Item]) -> list[int]:
    """Where the items are that begin an example: a long text may have several."""
    if hasattr(items, "counts"):
        found: list[int] = np.flatnonzero(counts(items)["continues"] == 0).tolist()
        return found
    return [i for i, item in enumerate(items) if not getattr(item, "continues", False)]


def _characters_of_turn(turn: Turn) -> int:
    more = json.dumps(turn.more, default=str) if turn.more else ""
    return len(turn.content or "") + len(more)


def characters(example: Example) -> int:
    """How much text an example has."""
    match example:
        case Completion():
            return len(example.prompt) + len(example.completion)
        case Chat():
            return sum(map(_characters_of_turn, example.turns))
        case Labelled() | MultiLabelled() | Valued():
            return len(example.text)
        case Tagged():
            return sum(len(word) + 1 for word in example.tokens)
        case Pair():
            return len(example.first) + len(example.second)
        case Answers():
            return sum(map(characters, example.given))
