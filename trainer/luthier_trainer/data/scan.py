"""One pass over rows: checks each, and keeps some numbers of it."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.data.examples import Chat, Completion, Example, Labelled, Pair, Tagged
from luthier_trainer.data.forms import Form, as_text
from luthier_trainer.data.rows import Row
from luthier_trainer.data.table import Table
from luthier_trainer.errors import data_error

_SEPARATOR = "\x1f"


class Scan:
    """Of every row that was scanned, by its number: hashes of the whole example and of what the
    model is asked, its labels and its stratum as codes, and whether it is a pair of texts that
    aren't alike. In memory the example itself too."""

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
        self.examples: dict[int, Example] = {}
        self._table, self._form = table, form
        self._stratum, self._labels = stratum, labels

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
        self.asked[index] = _hash(asked)
        self.whole[index] = _hash(f"{asked}{_SEPARATOR}{answer}")
        if self._labels:
            labels = labels_of(example)
            self.label_codes[index] = self.labels.setdefault(labels, len(self.labels))
        if stratify and self._stratum:
            value = as_text(row.values[self._stratum])
            self.stratum_codes[index] = self.strata.setdefault(value, len(self.strata))
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
            # Without a prompt the text itself is all that tells two rows apart.
            return example.prompt or example.completion, example.completion
        case Labelled():
            return example.text, example.label
        case Tagged():
            return _SEPARATOR.join(example.tokens), _SEPARATOR.join(example.tags)
        case Chat():
            turns = [f"{turn.role}{_SEPARATOR}{turn.content}" for turn in example.turns]
            return _SEPARATOR.join(turns[:-1]), turns[-1]
        case _:
            return f"{example.first}{_SEPARATOR}{example.second}", str(example.label)


def _hash(text: str) -> int:
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
