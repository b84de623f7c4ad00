"""One pass over rows: checks each, and keeps some numbers of it."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.data.examples import Chat, Completion, Example, Labelled, Pair, Tagged
from luthier_trainer.data.forms import Form, as_text
from luthier_trainer.data.rows import Row, malformed
from luthier_trainer.data.table import Table
from luthier_trainer.errors import TrainerError, data_error

_SEPARATOR = "\x1f"
_HALF = "half of a surrogate pair, which is no character"


class Scan:
    """Of every row that was scanned, by its number: hashes of the whole example and of what the
    model is asked (of the whole again, where a row asks nothing of its own), its labels and its
    stratum as codes, and whether it is a pair of texts that aren't alike. In memory the example
    itself too."""

    def __init__(self, table: Table, form: Form, stratum: str | None, labels: bool) -> None:
        count = len(table)
        self.whole: NDArray[np.uint64] = np.zeros(count, np.uint64)
        self.asked: NDArray[np.uint64] = np.zeros(count, np.uint64)
        self.label_codes: NDArray[np.int64] = np.full(count, -1, np.int64)
        self.stratum_codes: NDArray[np.int64] = np.zeros(count, np.int64)
        self.unlike: NDArray[np.bool_] = np.zeros(count, np.bool_)
        # A code stands for the labels of a row: one class, or the kinds of its entities.
        self.labels: dict[tuple[str, ...], int] = {}
        self.strata: dict[str, int] = {}
        self.columns: dict[str, None] = {}
        self.unread: dict[str, str] = {}  # what the form leaves out → where it is first
        self.examples: dict[int, Example] = {}
        self._table, self._form = table, form
        self._stratum, self._labels = stratum, labels
        # A template of one column puts the same before it in every row.
        self._asks = form.template is None or len(form.template.columns) > 1

    def rows(self, indices: Iterable[int], stratify: bool = False) -> None:
        """Raises TrainerError."""
        needed = dict(self._form.columns)
        if stratify and self._stratum:
            needed.setdefault(self._stratum, "dataset.stratifyBy")
        lacking: tuple[Row, str] | None = None
        columns: dict[str, None] = {}
        for index in indices:
            row = self._table[index]
            if not row.values.keys() <= columns.keys():
                columns.update(dict.fromkeys(row.values))
                if half := _half("".join(row.values)):
                    raise malformed(row.place, f"a column's name has {half!r}, {_HALF}")
            if lacking is None and not needed.keys() <= row.values.keys():
                lacking = row, next(name for name in needed if name not in row.values)
            if lacking is None:
                self._keep(index, row, stratify)
            elif lacking[1] in columns:
                break
        self.columns.update(columns)
        if lacking:
            self._refuse(*lacking, needed, columns)

    def _keep(self, index: int, row: Row, stratify: bool) -> None:
        example = self._form.convert(row)
        asked, answer = keys(example)
        whole = f"{asked}{_SEPARATOR}{answer}"
        try:
            self.asked[index] = _hash(asked if self._asks and asked.strip() else whole)
            self.whole[index] = _hash(whole)
        except UnicodeEncodeError as error:
            raise _broken(row, self._form.columns) from error
        if self._labels:
            labels = labels_of(example)
            self.label_codes[index] = self.labels.setdefault(labels, len(self.labels))
        if stratify and self._stratum:
            value = as_text(row.values[self._stratum])
            self.stratum_codes[index] = self.strata.setdefault(value, len(self.strata))
        for name in self._form.unread(row):
            self.unread.setdefault(name, row.place)
        self.unlike[index] = isinstance(example, Pair) and not example.alike
        if self._table.in_memory:
            self.examples[index] = example

    def _refuse(
        self, row: Row, column: str, needed: dict[str, str], columns: dict[str, None]
    ) -> None:
        if column in columns:
            raise data_error(
                "MissingColumn",
                f"{row.place}: the row has no {column!r}; add it or remove the row",
            )
        param = needed[column]
        raise data_error(
            "UnknownTemplateField" if param == "dataset.template" else "UnknownColumn",
            f"{row.place.rpartition(':')[0] or row.place}: the dataset has no column {column!r}; "
            f"its columns are: {', '.join(list(columns)[:50])}",
            param,
        )


def labels_of(example: Example) -> tuple[str, ...]:
    """The class of an example, or the kinds of its entities, sorted."""
    match example:
        case Completion(label=label) | Labelled(label=label):
            return (label,)
        case Tagged(tags=tags):
            return tuple(sorted({tag[2:] for tag in tags if tag != "O"}))
        case _:
            return ()


def keys(example: Example) -> tuple[str, str]:
    """(what the model is asked, what it is to answer), to compare examples by."""
    match example:
        case Completion():
            return example.prompt, example.completion
        case Labelled():
            return example.text, example.label
        case Tagged():
            return _SEPARATOR.join(example.tokens), _SEPARATOR.join(example.tags)
        case Chat():
            turns = [f"{turn.role}{_SEPARATOR}{turn.content}" for turn in example.turns]
            return _SEPARATOR.join(turns[:-1]), turns[-1]
        case _:
            return f"{example.first}{_SEPARATOR}{example.second}", str(example.label)


def _broken(row: Row, columns: Iterable[str]) -> TrainerError:
    """No tokenizer reads a text that UTF-8 can't write."""
    for column in columns:
        if half := _half(as_text(row.values[column])):
            return malformed(row.place, f"{column!r} has {half!r}, {_HALF}")
    # Of a list that is written as JSON, in .csv say.
    return malformed(row.place, f"{' or '.join(map(repr, columns))} has {_HALF}")


def _half(text: str) -> str | None:
    """The first surrogate: paired ones are one character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return None


def _hash(text: str) -> int:
    """Raises UnicodeEncodeError."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
