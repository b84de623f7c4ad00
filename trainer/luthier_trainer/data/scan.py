"""One pass over rows: checks each, and keeps some numbers of it."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier_trainer.data.examples import (
    Answers,
    Chat,
    Completion,
    Example,
    Labelled,
    MultiLabelled,
    Pair,
    Tagged,
    Turn,
    Valued,
)
from luthier_trainer.data.forms import Form
from luthier_trainer.data.labels import reads_as
from luthier_trainer.data.row import Row, data_suffix, malformed, shown
from luthier_trainer.data.table import Table
from luthier_trainer.data.values import as_text
from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.log import log

_SEPARATOR = "\x1f"
_NAMES, _NAME = 30, 60  # columns that a message names, and how long
_KINDS = {bool: "true or false", int: "a number", float: "a number"}
_MOST_UNREAD = 8
_HALF = "half of a surrogate pair, which is no character"


class Scan:
    """Of every row that was scanned, by its number: hashes of the whole example and of what the
    model is asked (of the whole again, where a row asks nothing of its own), its labels and its
    stratum as codes, its number where it has one, and whether it is a pair of texts that aren't
    alike, or of answers of which none is better. In memory the example itself too."""

    def __init__(self, table: Table, form: Form, stratum: str | None, labels: bool) -> None:
        count = len(table)
        self.whole: NDArray[np.uint64] = np.zeros(count, np.uint64)
        self.asked: NDArray[np.uint64] = np.zeros(count, np.uint64)
        self.label_codes: NDArray[np.int64] = np.full(count, -1, np.int64)
        self.stratum_codes: NDArray[np.int64] = np.zeros(count, np.int64)
        self.unlike: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.undecided: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.numbers: NDArray[np.float64] = np.zeros(count, np.float64)
        # A code stands for the labels of a row: one class, or the kinds of its entities.
        self.labels: dict[tuple[str, ...], int] = {}
        self.strata: dict[str, int] = {}
        self.columns: dict[str, None] = {}
        self.unread: dict[str, str] = {}  # what the form leaves out → where it is first
        self.unread_rows: Counter[str] = Counter()
        self.examples: dict[int, Example] = {}
        self._table, self._form = table, form
        self._stratum, self._labels = stratum, labels
        self.mixed: dict[str, str] = {}  # a class → what it is in some rows and in others
        self._kinds: dict[tuple[str, ...], str] = {}
        self._class_column = _class_column(form) if labels else None
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
            if not (row.values.keys() | row.nulls) <= columns.keys():
                columns.update(dict.fromkeys([*row.values, *sorted(row.nulls)]))
                if half := _half("".join([*row.values, *row.nulls])):
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
            self._note_kind(row, labels)
        if stratify and self._stratum:
            value = as_text(self._one_value(row, self._stratum))
            self.stratum_codes[index] = self.strata.setdefault(value, len(self.strata))
        for name in self._form.unread(row):
            self.unread.setdefault(name, row.place)
            self.unread_rows[name] += 1
        if isinstance(example, Valued):
            self.numbers[index] = example.label
        self.unlike[index] = isinstance(example, Pair) and not example.alike
        if isinstance(example, Answers):
            self.undecided[index] = example.chosen == example.rejected
        if self._table.in_memory:
            self.examples[index] = example

    def _note_kind(self, row: Row, labels: tuple[str, ...]) -> None:
        """Of a class: 1 and "1" are one, which may not be meant."""
        if self._class_column is None:
            return
        kind = _KINDS.get(type(row.values[self._class_column]), "a text")
        first = self._kinds.setdefault(labels, kind)
        if first != kind:
            self.mixed.setdefault(labels[0], f"{first} and {kind} (first: {row.place})")

    def _one_value(self, row: Row, column: str) -> Any:
        value = row.values[column]
        if isinstance(value, list | dict):
            raise malformed(
                row.place,
                f"{column!r} is a list or an object, and dataset.stratifyBy takes a text or number",
                "name another column",
            )
        return value

    def _refuse(
        self, row: Row, column: str, needed: dict[str, str], columns: dict[str, None]
    ) -> None:
        if column in columns:
            raise data_error("MissingColumn", f"{row.place}: {self._lack(row, column)}")
        param = needed[column]
        file = row.place[: max(row.place.rfind(":"), row.place.rfind("#"))]
        raise data_error(
            "UnknownTemplateField" if param == "dataset.template" else "UnknownColumn",
            f"{file}: the dataset has no column {column!r}; {_columns(file, column, columns)}",
            param,
        )

    def _lack(self, row: Row, column: str) -> str:
        if column not in row.nulls:
            return f"the row has no {column!r}; add it or remove the row"
        template = self._form.template
        asked = template is not None and column != template.label_column
        if asked or self._form.columns.get(column) == "dataset.columns.prompt":
            return (
                f'{column!r} is null (or NaN): write "" where a row has none, which is read as '
                "an empty text, or remove the row"
            )
        return f"{column!r} is null (or NaN); fill it in or remove the row"


def _columns(file: str, wanted: str, columns: Collection[str]) -> str:
    """Those of the dataset, and which one was meant. Of a table the first line may be a row, and
    no name: only the log has it."""
    meant = [name for name in columns if reads_as(name) == reads_as(wanted)]
    if meant:
        return f"did you mean {meant[0]!r}? Case and blanks count"
    if data_suffix(file) in (".csv", ".tsv"):
        log(f"data: {file}: the header names: {', '.join(map(shown, columns))}")
        return (
            f"its first line names {len(columns)} others, which the pod's log has; if that line is "
            "a row, put a header above it"
        )
    names = [name if len(name) <= _NAME else f"{name[:_NAME]}…" for name in columns]
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"its columns are: {', '.join(names[:_NAMES])}{more}"


def _class_column(form: Form) -> str | None:
    """Of classes, the column that they are in."""
    if form.template is not None:
        return form.template.label_column
    fields = {field: column for column, field in form.columns.items()}
    return fields.get("dataset.columns.label")


def labels_of(example: Example) -> tuple[str, ...]:
    """The class of an example, its classes, or the kinds of its entities, sorted."""
    match example:
        case Completion(label=label) | Labelled(label=label):
            return (label,)
        case MultiLabelled(labels=labels):
            return labels
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
        case MultiLabelled():
            return example.text, _SEPARATOR.join(example.labels)
        case Valued():
            return example.text, str(example.label)
        case Tagged():
            return _SEPARATOR.join(example.tokens), _SEPARATOR.join(example.tags)
        case Chat():
            return _chat_keys(example, len(example.turns) - 1)
        case Answers():
            found = [
                _chat_keys(it, it.answers[0]) if isinstance(it, Chat) else keys(it)
                for it in example.given
            ]
            marks = ["" if it is None else "+" for it in (example.chosen, example.rejected)]
            return found[0][0], _SEPARATOR.join([*marks, *(answer for _, answer in found)])
        case _:
            return f"{example.first}{_SEPARATOR}{example.second}", str(example.label)


def _chat_keys(chat: Chat, answer: int) -> tuple[str, str]:
    """Of a conversation whose turns from `answer` on are the answer."""
    turns = [_turn_key(turn) for turn in chat.turns]
    tools = [_json(chat.tools)] if chat.tools else []
    return _SEPARATOR.join([*tools, *turns[:answer]]), _SEPARATOR.join(turns[answer:])


def unread_words(rows: Mapping[str, int]) -> list[str]:
    """What nothing learns from, and how many rows have it; as many as a status holds."""
    names = sorted(rows, key=lambda name: (-rows[name], name))[:_MOST_UNREAD]
    counts = [(name, rows[name]) for name in names]
    return [f"{name[:40]} ({count:,} row{'s' * (count > 1)})" for name, count in counts]


def _turn_key(turn: Turn) -> str:
    parts = [turn.role, turn.content or "", *([_json(turn.more)] if turn.more else [])]
    return _SEPARATOR.join(parts)


def _json(value: Any) -> str:
    # ensure_ascii would hide half a surrogate pair.
    return json.dumps(value, ensure_ascii=False, default=str)


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
