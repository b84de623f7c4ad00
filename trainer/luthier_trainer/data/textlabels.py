"""What a text is: one class, several, or a number."""

import math
from typing import Any

from luthier_trainer.data.examples import Labelled, MultiLabelled, Valued
from luthier_trainer.data.row import Row, hidden
from luthier_trainer.data.values import as_text, empty, is_printed, mistake, printed, value_of
from luthier_trainer.errors import data_error


def labelled(names: dict[str, str], row: Row) -> Labelled:
    require_one(row, names["label"])
    text, label = _text(names, row), as_text(row.values[names["label"]])
    if not label.strip():
        raise empty(row, names["label"])
    return Labelled(text, label, row.place)


def require_one(row: Row, column: str) -> None:
    """Raises TrainerError (SeveralLabels) where a column has no class, but several."""
    value = row.values[column]
    if isinstance(value, list | dict):
        raise data_error(
            "SeveralLabels",
            f"{row.place}: {column!r} is {hidden(row.place, value)}, where one class is learnt: "
            "write the label as text, or let a head learn several classes of a text, by "
            "columns.text and columns.labels",
        )


def several(names: dict[str, str], row: Row, *, separator: str | None) -> MultiLabelled:
    """Classes in a list; in a text where `separator` divides it, or where it is a list as JSON."""
    text, column = _text(names, row), names["labels"]
    found = {_label(row, column, each) for each in _labels(row, column, separator)}
    return MultiLabelled(text, tuple(sorted(found)), row.place)


def _labels(row: Row, column: str, separator: str | None) -> list[Any]:
    value = row.values[column]
    if isinstance(value, str) and separator is not None:
        return [part.strip() for part in value.split(separator)] if value.strip() else []
    found = value_of(row, column)
    if isinstance(found, list):
        return found
    if is_printed(value):
        raise printed(row, column)
    raise mistake(
        "InvalidList",
        row,
        f"{column!r} is {hidden(row.place, value)}, no list of labels: write one (in .csv, as "
        "JSON), or set dataset.labelSeparator to what divides them",
    )


def _label(row: Row, column: str, value: Any) -> str:
    if value is None or isinstance(value, list | dict) or not as_text(value).strip():
        raise mistake(
            "InvalidLabel",
            row,
            f"{column!r} has {hidden(row.place, value)}, and a label is a text that isn't empty",
        )
    return as_text(value)


def valued(names: dict[str, str], row: Row) -> Valued:
    text, column = _text(names, row), names["label"]
    value = row.values[column]
    try:
        # True would count as 1.
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise mistake(
            "InvalidNumber", row, f"{column!r} is {hidden(row.place, value)}, not a finite number"
        )
    return Valued(text, number, row.place)


def _text(names: dict[str, str], row: Row) -> str:
    text = as_text(row.values[names["text"]])
    if not text.strip():
        raise empty(row, names["text"])
    return text
