"""Text of others, as it may stand on a terminal or in a log: what would act there is shown.

A terminal obeys ESC and the C1 codes (it clears the screen, renames the window, hides a link), a
line break forges a line of a log, and characters of direction and of no width make a name look
like another one. A letter of any script stays as it is.
"""

import unicodedata
from typing import Any

# Controls, formats (of direction, of no width), halves of surrogate pairs, line and paragraph ends.
_ACTING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def visible(text: str) -> str:
    """The same with escapes, as Python writes them, for all that acts; lines and tabs stay."""
    return _escaped(text, "\n\t")


def one_line(text: str) -> str:
    """As `visible`, and on a single line."""
    return _escaped(text, "\t")


def visible_in(document: Any) -> Any:
    """A copy of a JSON document, `visible` in every key and text."""
    if isinstance(document, str):
        return visible(document)
    if isinstance(document, dict):
        return {visible_in(key): visible_in(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [visible_in(item) for item in document]
    return document


def in_json(text: str) -> str:
    """Written JSON, which means the same and acts on no terminal."""
    return _escaped(text, "\n\t", _json_escape)


def _escaped(text: str, kept: str, escape: Any = None) -> str:
    if text.isprintable():
        return text
    escape = escape or _escape
    return "".join(
        escape(it) if it not in kept and unicodedata.category(it) in _ACTING else it for it in text
    )


def _escape(character: str) -> str:
    return repr(character)[1:-1]


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
