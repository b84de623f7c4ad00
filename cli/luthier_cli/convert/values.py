"""Values as tools write them: numbers in quotes, words for choices, lists with commas."""

import math
from collections.abc import Mapping
from typing import Any

from luthier_cli.convert.mapping import Reader, Said, UnsaidError

_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")
_MANY = 4096  # entries of a list that are read


def number(value: Any) -> float | int:
    """A finite number; `1e-4`, which YAML's older readers leave a text, is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnsaidError("it isn't a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise UnsaidError("it isn't a number") from None
    if not math.isfinite(found):
        raise UnsaidError("it isn't a finite number")
    return int(found) if found.is_integer() and abs(found) < 2**53 else found


def whole(value: Any) -> int:
    """A whole number."""
    found = number(value)
    if not isinstance(found, int):
        raise UnsaidError("it isn't a whole number")
    return found


def flag(value: Any) -> bool:
    """true or false, as a text, too."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int) and str(value).lower() in (*_TRUE, *_FALSE):
        return str(value).lower() in _TRUE
    raise UnsaidError("it is neither true nor false")


def is_on(value: Any) -> bool:
    """Whether a switch is on; what is no switch is off."""
    return value is True or (isinstance(value, str) and value.lower() in _TRUE)


def text(value: Any) -> str:
    """A text that isn't empty."""
    if not isinstance(value, str) or not value.strip():
        raise UnsaidError("it isn't a text")
    return value


def words(value: Any) -> list[str]:
    """A list of words, or one text with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(it, str) for it in parts):
        raise UnsaidError("it isn't a list of words")
    found = [it.strip() for it in parts[:_MANY] if it.strip()]
    if not found:
        raise UnsaidError("the list is empty")
    return list(dict.fromkeys(found))


def table(value: Any) -> dict[str, Any]:
    """A mapping; nothing where there is none."""
    return value if isinstance(value, dict) else {}


def choice(ours: Mapping[str, Any], why: str = "there is no such choice here") -> Reader:
    """One of some words, in whatever case, each with ours for it."""

    def read(value: Any) -> Any:
        key = str(value).lower()
        if key not in ours:
            raise UnsaidError(why)
        return ours[key]

    return read


def always(value: Any) -> str:
    """A switch of ours: Always where it is on, else Never."""
    return "Always" if flag(value) else "Never"


def of_texts(value: Any) -> list[str]:
    """The texts of a list, or the one that there is."""
    return [it for it in (value if isinstance(value, list) else [value]) if isinstance(it, str)]


__all__ = [
    "Said",
    "always",
    "choice",
    "flag",
    "is_on",
    "number",
    "of_texts",
    "table",
    "text",
    "whole",
    "words",
]
