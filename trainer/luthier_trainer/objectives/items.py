"""Encoded examples: all at once, or each when it is read."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from typing import Any, overload

from luthier_trainer.data.examples import Chat, Completion, Example, Labelled, Pair, Tagged, Turn
from luthier_trainer.objectives.objective import Item

# Above this many examples, or characters (which take some 20 s to encode), tokens are made when a
# batch needs them, by its worker.
LAZY_ABOVE, LAZY_ABOVE_CHARACTERS = 200_000, 64 * 10**6
# Examples that go to the tokenizer in one call.
_CHUNK = 1024
# What tokenizers read at each call.
_PARALLEL = "TOKENIZERS_PARALLELISM"
# An estimate, for batches of similar length only; English has 4 to 5.
_CHARACTERS_PER_TOKEN = 4

Encode = Callable[[Sequence[Any]], list[Any]]


class LazyItems(Sequence[Any]):
    """Examples that are encoded whenever they are read. `lengths` are estimated."""

    def __init__(self, examples: Sequence[Example], encode: Encode, max_length: int) -> None:
        self._examples = examples
        self._encode = encode
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyItems": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            chosen = [self._examples[each] for each in range(*index.indices(len(self)))]
            return LazyItems(chosen, self._encode, self._max_length)
        return self._encode([self._examples[index]])[0]

    @property
    def exact_lengths(self) -> list[int]:
        """All are encoded for it, and none is kept."""
        chunks = _encoded_in_chunks(self._examples, self._encode)
        return [len(item) for some in chunks for item in some]

    @cached_property
    def lengths(self) -> list[int]:
        """From the number of characters, the same each time: nothing is encoded for it."""
        return [
            min(1 + characters(self._examples[index]) // _CHARACTERS_PER_TOKEN, self._max_length)
            for index in range(len(self))
        ]


def encoded(examples: Sequence[Example], encode: Encode, max_length: int) -> Sequence[Any]:
    """`encode` of all examples; lazily where they are many (then what it counts, such as
    examples that it cut, is counted where it runs: in the processes that load data)."""
    if _many(examples):
        return LazyItems(examples, encode, max_length)
    return [item for some in _encoded_in_chunks(examples, encode) for item in some]


def _many(examples: Sequence[Example]) -> bool:
    if len(examples) > LAZY_ABOVE:
        return True
    so_far = accumulate(characters(examples[index]) for index in range(len(examples)))
    return any(total > LAZY_ABOVE_CHARACTERS for total in so_far)


def _encoded_in_chunks(examples: Sequence[Example], encode: Encode) -> Iterator[list[Any]]:
    count = len(examples)
    for start in range(0, count, _CHUNK):
        some = [examples[index] for index in range(start, min(start + _CHUNK, count))]
        with _all_threads():
            chunk = encode(some)
        yield chunk


@contextmanager
def _all_threads() -> Iterator[None]:
    """The tokenizer may use them: not otherwise, as it would hang in a process that is forked
    from one in which it did."""
    before = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = before


def lengths(items: Sequence[Item]) -> list[int]:
    """Tokens of each item; estimated for lazy ones."""
    return items.lengths if isinstance(items, LazyItems) else [len(item) for item in items]


def exact_lengths(items: Sequence[Item]) -> list[int]:
    """Tokens of each item, for those who fill a row with them."""
    return items.exact_lengths if isinstance(items, LazyItems) else lengths(items)


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
        case Labelled():
            return len(example.text)
        case Tagged():
            return sum(len(word) + 1 for word in example.tokens)
        case Pair():
            return len(example.first) + len(example.second)
