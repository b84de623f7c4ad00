"""JSON that others may have written: a manifest, an index, a config in storage."""

import json
import math
from typing import Any

_LONGEST = 64 * 10**6
_DIGITS = 400  # of a number; the largest float has 309


class DocumentError(ValueError):
    """It isn't what it should be. The text says why, and quotes nothing of it."""


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object, as the standard has it: no key twice, no NaN, no number without bounds.

    Raises DocumentError."""
    if len(data) > _LONGEST:
        raise DocumentError(f"it has more than {_LONGEST:,} bytes")
    try:
        found = json.loads(
            data,
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_int=_integer,
            parse_float=_float,
        )
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError("it is nested too deeply") from None
    except ValueError as error:  # no UTF-8 either
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DocumentError(f"it isn't JSON{place}") from None
    if not isinstance(found, dict):
        raise DocumentError("it isn't a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DocumentError("it has a key twice")
    return found


def _no_number(name: str) -> Any:
    raise DocumentError(f"it has {name}, which is no number")


def _float(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits[:20])


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise DocumentError(f"it has a number of more than {_DIGITS} digits")
    return int(digits)
