"""Items of a .json file, which is one array or objects in turn (lines, say), read as a stream: an
item and a chunk are in memory."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, TextIO

from luthier_trainer.data.row import MAX_ROW_BYTES

_CHUNK = 1 << 20  # characters
_MOST = MAX_ROW_BYTES  # characters of an item
# A number, a literal or an escape that the end of a chunk cut is no longer.
_LONGEST_WORD = 12


def _constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)


def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises DoubledKeyError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DoubledKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return found


class DoubledKeyError(Exception):
    """An object has a key twice: which value is meant isn't for a reader to guess."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


# NaN is what pandas writes for a value that is missing.
decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=as_object)
_whitespace = json.decoder.WHITESPACE.match  # type: ignore[attr-defined]


class ArrayError(Exception):
    """`line` and `column` from 1: where; `problem`: what; `found`: the character there."""

    def __init__(self, line: int, column: int, problem: str, found: str = "") -> None:
        super().__init__(problem)
        self.line, self.column, self.problem, self.found = line, column, problem, found


class ItemTooLargeError(Exception):
    """An item is larger than any row may be."""


def array_items(stream: TextIO, chunk: int = _CHUNK) -> Iterator[Any]:
    """The file's objects in turn. An item that is none may be a number that was cut short: it
    is for the caller to refuse. Raises ArrayError, DoubledKeyError, ItemTooLargeError, and what
    reading raises."""
    window = _Window(stream, chunk)
    if window.next() == "{":
        while window.next():
            yield window.item()
        return
    if window.next() != "[":
        raise window.error("a .json file holds one array of objects, or one object per line")
    window.position += 1
    if window.next() == "]":
        window.position += 1
    else:
        while True:
            yield window.item()
            if (mark := window.next()) not in (",", "]"):
                raise window.error("Expecting ',' or ']'")
            window.position += 1
            if mark == "]":
                break
            window.next()
    if window.next():
        raise window.error("Extra data")


class _Window:
    """The part of the text that is in memory, from what isn't read yet."""

    def __init__(self, stream: TextIO, chunk: int) -> None:
        self.position = 0
        self._stream, self._chunk = stream, chunk
        self._text = ""
        # Of what is gone: lines, and characters of the last one.
        self._lines = self._columns = 0

    def next(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            self.position = _whitespace(self._text, self.position).end()
            if self.position < len(self._text) or not self._more():
                return self._text[self.position : self.position + 1]

    def item(self) -> Any:
        """The value that begins here."""
        while True:
            try:
                value, self.position = decoder.raw_decode(self._text, self.position)
            except json.JSONDecodeError as error:
                unfinished = (
                    error.msg.startswith("Unterminated string")
                    or len(self._text) - error.pos <= _LONGEST_WORD
                )
                if not (unfinished and self._more()):
                    self.position = error.pos
                    raise self.error(error.msg) from error
            else:
                return value

    def error(self, problem: str) -> ArrayError:
        """`problem` is at the position."""
        line, column = self._place()
        found = self._text[self.position : self.position + 1]
        return ArrayError(line + 1, column + 1, problem, found)

    def _place(self) -> tuple[int, int]:
        lines = self._text.count("\n", 0, self.position)
        if not lines:
            return self._lines, self._columns + self.position
        return self._lines + lines, self.position - self._text.rindex("\n", 0, self.position) - 1

    def _more(self) -> bool:
        """Read on, an unfinished item in ever larger steps; False at the end."""
        rest = len(self._text) - self.position
        if rest > _MOST:
            raise ItemTooLargeError
        read = self._stream.read(max(self._chunk, rest))
        if not read:
            return False
        self._lines, self._columns = self._place()
        self._text = self._text[self.position :] + read
        self.position = 0
        return True
