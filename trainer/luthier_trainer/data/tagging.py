"""Tags of words: BIO checked, BILOU and character spans converted to it."""

import re
import unicodedata
from typing import Any

from luthier_trainer.data.row import shown
from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.log import log

_TAG = re.compile(r"([BILU])-(.+)", re.DOTALL)
# \w has no combining marks (accents, vowel signs): they come as pieces of their own.
_PIECE = re.compile(r"\w+|[^\w\s]")
_JOINERS = "\u200c\u200d"  # zero width: how letters are joined


def to_bio(tags: list[Any], place: str) -> tuple[str, ...]:
    """Tags in BIO. BILOU's U- is a B-, its L- an I-. Raises TrainerError (InvalidTag)."""
    found = []
    inside: str | None = None
    for number, tag in enumerate(tags, start=1):
        if tag == "O":
            inside = None
            found.append("O")
            continue
        match = _TAG.fullmatch(tag) if isinstance(tag, str) else None
        if match is None:
            raise _invalid(place, number, "write O, B-KIND or I-KIND (or BILOU)")
        letter, kind = match.groups()
        if letter in "IL" and inside != kind:
            log(f"data: {place}: the tag of word {number}: {shown(tag)}")
            raise _invalid(
                place,
                number,
                f"it goes on with {letter}- of a kind that no B- begins before it (the pod's log "
                "has it); begin the entity with B-",
            )
        found.append(f"{'B' if letter in 'BU' else 'I'}-{kind}")
        inside = kind if letter in "BI" else None
    return tuple(found)


def words_and_tags(
    text: str, spans: list[Any], place: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words of a text and their tags in BIO, from spans {start, end, label} in characters.

    A word is a run of letters, digits and _, or one other sign, with its combining marks. Raises
    TrainerError (InvalidSpan): spans that cut a word, overlap, are empty or lie outside.
    """
    words = _words(text)
    starts = {start: index for index, (start, _) in enumerate(words)}
    ends = {end: index for index, (_, end) in enumerate(words)}
    tags = ["O"] * len(words)
    previous = 0
    for start, end, label in sorted(_span(span, place) for span in spans):
        which = f"the span {start}:{end}"
        if not 0 <= start < end <= len(text):
            raise _span_error(place, f"{which} is empty or outside the text of {len(text)}")
        if start < previous:
            raise _span_error(place, f"{which} overlaps the one before it")
        if start not in starts or end not in ends:
            raise _span_error(
                place,
                f"{which} doesn't begin and end with a word (for a language without blanks between "
                "words name tokens and tags instead)",
            )
        for index in range(starts[start], ends[end] + 1):
            tags[index] = f"{'B' if index == starts[start] else 'I'}-{label}"
        previous = end
    return tuple(text[start:end] for start, end in words), tuple(tags)


def _words(text: str) -> list[tuple[int, int]]:
    """[start, end) of each word."""
    words: list[tuple[int, int]] = []
    for match in _PIECE.finditer(text):
        start, end = match.span()
        first = words[-1][0] if words and words[-1][1] == start else None
        if first is not None and _goes_on(text[first], text[start]):
            words[-1] = first, end
        else:
            words.append((start, end))
    return words


def _goes_on(first: str, piece: str) -> bool:
    """Whether a piece right behind a word belongs to it, by how each begins: marks do, and
    letters behind a mark that is within a word of letters."""
    return _is_mark(piece) or (_is_letter(piece) and _is_letter(first))


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_mark(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def _span(span: Any, place: str) -> tuple[int, int, str]:
    fields = ("start", "end", "label")
    if not isinstance(span, dict) or any(name not in span for name in fields):
        raise _span_error(place, "a span is {start, end, label}")
    start, end, label = (span[name] for name in fields)
    if not (type(start) is int and type(end) is int and isinstance(label, str) and label.strip()):
        raise _span_error(place, "start and end are whole numbers, label is text")
    return start, end, label


def _invalid(place: str, number: int, problem: str) -> TrainerError:
    return data_error("InvalidTag", f"{place}: the tag of word {number}: {problem}")


def _span_error(place: str, problem: str) -> TrainerError:
    return data_error("InvalidSpan", f"{place}: {problem}; correct it or remove the row")
