"""Text of others in Markdown: none of it is read as Markdown or HTML. Pure.

Every card and README is written with these: `inline` and `code` for what stands in a line or a
table's cell, `fenced` for a block, `front_matter` for what programs read.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_MOST_INLINE, _MOST_BLOCK = 400, 6_000
_MARKS = re.compile(r"[\\`*\[\]<>&|~#]|(?<![^\W_])_|_(?![^\W_])")
# At the start of a line these would begin a list, a quotation or a heading.
_STARTS = re.compile(r"^(?:[-+=](?=[-+=\s]|$)|\d+(?=[.)]))")
_BAR, _ESCAPED_BAR = re.compile(r"(?<!\\)\|"), r"\\|"
_TICKS = re.compile(r"`+")


def inline(text: object, most: int = _MOST_INLINE) -> str:
    """In a paragraph, or in a cell: one line, cut, with every mark escaped."""
    escaped = _MARKS.sub(r"\\\g<0>", _line(text, most))
    start = _STARTS.match(escaped)
    if start:
        mark = start[0]
        escaped = f"{mark}\\{escaped[len(mark) :]}" if mark.isdigit() else f"\\{escaped}"
    return escaped


def code(text: object, most: int = _MOST_INLINE) -> str:
    """A code span of one line."""
    line = _line(text, most) or " "
    ticks = "`" * (1 + max(map(len, _TICKS.findall(line)), default=0))
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def row(cells: Iterable[str]) -> str:
    """A row of a table, of `inline`, `code` and words of ours."""
    return f"| {' | '.join(_BAR.sub(_ESCAPED_BAR, cell) for cell in cells)} |"


def fenced(text: str, language: str = "") -> str:
    """A block of code, in a fence that nothing in it ends."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    if len(shown) > _MOST_BLOCK:
        shown = f"{shown[:_MOST_BLOCK]}…"
    fence = "`" * (1 + max(2, *map(len, _TICKS.findall(shown)), 0))
    return f"{fence}{language}\n{shown}\n{fence}"


def front_matter(fields: Mapping[str, Any]) -> str:
    """What hubs read, as YAML."""
    text = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{text}---"


def _line(text: object, most: int) -> str:
    """As one line of printable characters, at most so many."""
    words = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else "\ufffd" for c in words)
    return f"{shown[:most]}…" if len(shown) > most else shown
