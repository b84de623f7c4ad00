"""Values of a row as the forms of examples read them."""

import json
import re
from typing import Any

from luthier_trainer.data.jsonarray import DoubledKeyError, decoder
from luthier_trainer.data.row import Row, doubled_key, shown
from luthier_trainer.errors import TrainerError, data_error

# A list, of texts or of objects, by Python's str().
_PRINTED = re.compile(r"\s*\[\s*(?:\{\s*)?'")


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parsed(value: Any) -> Any:
    """What a text holds as JSON; anything else as it is. None: it holds none. Raises ValueError,
    whose text goes on from the name of what holds it."""
    try:
        return _decoded(value)
    except DoubledKeyError as error:
        raise ValueError(f"has an object with the key {shown(error.key)} twice") from None


def value_of(row: Row, column: str) -> Any:
    """As parsed, of a column; None also where the row lacks it. Raises TrainerError."""
    try:
        return _decoded(row.values.get(column))
    except DoubledKeyError as error:
        raise doubled_key(f"{row.place}: {column!r}", error.key) from None


def items_of(row: Row, column: str) -> list[Any]:
    """A list; in .csv it is written as JSON. Raises TrainerError (InvalidList, MalformedRow)."""
    value = value_of(row, column)
    if not isinstance(value, list):
        if is_printed(row.values[column]):
            raise printed(row, column)
        raise mistake("InvalidList", row, f"{column!r} is no list (in .csv: a list as JSON)")
    return value


def is_printed(value: Any) -> bool:
    return _PRINTED.match(as_text(value)) is not None


def printed(row: Row, column: str) -> TrainerError:
    """Of a list that isn't written as JSON."""
    return data_error(
        "InvalidList",
        f"{row.place}: {column!r} is a list as Python prints it, not JSON; write it with "
        "json.dumps",
    )


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return decoder.decode(value)
    except (ValueError, RecursionError):
        return None


def mistake(code: str, row: Row, problem: str) -> TrainerError:
    return data_error(code, f"{row.place}: {problem}; correct or remove the row")


def empty(row: Row, column: str) -> TrainerError:
    return data_error(
        "EmptyCompletion",
        f"{row.place}: {column!r} is empty: there is nothing to learn; fill it in or remove the "
        "row",
    )
