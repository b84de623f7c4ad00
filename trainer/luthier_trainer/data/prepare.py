"""Preflight of the dataset: from its files to examples, or to a clear error.

Nothing slow is imported here: a mistake in the data shows within seconds.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from luthier_api.dataset import Dataset
from luthier_api.finetunejob import DatasetFacts
from luthier_api.finetuning import FineTuning
from luthier_api.runspec import ProbeOrder, RunSpec
from luthier_trainer.data import sources
from luthier_trainer.data.balance import Balance, balance_of
from luthier_trainer.data.decided import check_decided
from luthier_trainer.data.examples import Example, Examples, Findings
from luthier_trainer.data.forms import Form, parse_form
from luthier_trainer.data.hashes import row_hashes
from luthier_trainer.data.labels import (
    are_classes,
    is_tagging,
    mixed_labels,
    twin_columns,
    twin_labels,
)
from luthier_trainer.data.pairlabels import check_pair_labels
from luthier_trainer.data.row import LocalFile
from luthier_trainer.data.scan import Scan, unread_words
from luthier_trainer.data.sources import Source, stored_columns, total_size
from luthier_trainer.data.splits import (
    Indices,
    check_disjoint,
    divide,
    divide_groups,
    repeat,
    sample,
    select,
)
from luthier_trainer.data.table import IN_MEMORY_BYTES, Table, open_split
from luthier_trainer.errors import data_error

_PLACES = 20


def load(order: RunSpec | ProbeOrder, folder: Path) -> Examples:
    """Fetch the dataset of a run to `folder`, which must live as long as the examples do, and
    prepare it. Raises TrainerError."""
    parse_form(order.fine_tuning)  # a mistake in the template shows before any download
    main, *mixed = (
        sources.fetch(it.uri, order, folder / str(number), it.param, it.revision, it.wanted)
        for number, it in enumerate(_named(order.fine_tuning.dataset))
    )
    return prepare(main, order.fine_tuning, folder / "rows", mixed)


def look(order: RunSpec | ProbeOrder) -> dict[str, str] | None:
    """What tells whether `load` would find the same as before, without reading it; None: nothing
    does. Raises TrainerError."""
    parse_form(order.fine_tuning)
    named = _named(order.fine_tuning.dataset)
    return _together(
        [sources.look(it.uri, order, it.param, it.revision, it.wanted) for it in named]
    )


@dataclass(frozen=True)
class _Named:
    """A source, as a spec names it, and the splits that are read of it."""

    uri: str
    param: str
    revision: str | None
    wanted: set[str]


def _named(dataset: Dataset) -> list[_Named]:
    expressions = filter(None, [dataset.train or "train", dataset.eval, dataset.test])
    wanted = {expression.partition("[")[0] for expression in expressions}
    main = _Named(dataset.uri, "dataset.uri", dataset.revision, wanted)
    mixed = (
        _Named(source.uri, f"dataset.mix[{number}].uri", source.revision, {"train"})
        for number, source in enumerate(dataset.mix)
    )
    return [main, *mixed]


def _together(found: Sequence[dict[str, str] | None]) -> dict[str, str] | None:
    """Of all sources."""
    known = [it for it in found if it is not None]
    if len(known) < len(found):
        return None
    return {f"{n}/{key}": value for n, each in enumerate(known) for key, value in each.items()}


def prepare(
    source: Source,
    tuning: FineTuning,
    scratch: Path,
    mixed: Sequence[Source] = (),
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> Examples:
    """Parse, split, convert and check. Raises TrainerError with exit code DATA."""
    return _Preflight(source, tuning, scratch, mixed, in_memory_bytes).examples()


class OnDemand(Sequence[Example]):
    """Examples of a table's rows, made when they are asked for."""

    def __init__(self, table: Table, form: Form, indices: Indices) -> None:
        self._table, self._form, self._indices = table, form, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return OnDemand(self._table, self._form, self._indices[index])
        return self._form.convert(self._table[int(self._indices[index])])


class _Preflight:
    def __init__(
        self,
        source: Source,
        tuning: FineTuning,
        scratch: Path,
        mixed: Sequence[Source],
        in_memory_bytes: int,
    ) -> None:
        self.tuning, self.dataset = tuning, tuning.dataset
        self.sources = [source, *mixed]
        self.form = parse_form(tuning)
        self.table = Table(total_size(self.sources, in_memory_bytes) <= in_memory_bytes)
        self.scratch = scratch
        stratum = filter(None, [self.dataset.stratify_by])
        needed = {*self.form.columns, *stratum}
        self.needed = needed
        self.mixes: list[range] = []
        self.splits = self._open(source, 0)
        for number, one in enumerate(mixed, start=1):
            splits = self._open(one, number)
            self.mixes.append(select("train", splits, one.param))
        self.labelled = is_tagging(tuning) or tuning.task == "classification"
        self.scan = Scan(self.table, self.form, self.dataset.stratify_by, self.labelled)

    def _open(self, source: Source, number: int) -> dict[str, range]:
        """The splits of one source, as rows of the table."""
        opened: dict[tuple[str, ...], range] = {}
        splits = {}
        for split, files in source.splits.items():
            key = tuple(str(file.path) for file in files)
            if key not in opened:  # a single file is train, and what its name says
                folder = self.scratch / str(number)
                rows = open_split(files, self._columns, self.table.in_memory, folder)
                name = f"{number}/{split}"
                self.table.add(name, rows)
                opened[key] = self.table.splits[name]
            splits[split] = opened[key]
        # Of a folder that lacks a split select() tells.
        if any(source.splits.values()) and not any(splits.values()):
            files = [file for files in source.splits.values() for file in files[:1]]
            names = ", ".join(dict.fromkeys(file.name for file in files))
            raise data_error(
                "EmptyDataset", f"{names}: no rows; add examples to the file", source.param
            )
        return splits

    def _columns(self, file: LocalFile) -> set[str]:
        """Those that are read of a file; of .parquet the optional ones only where it has them,
        since it is read whole where it lacks one."""
        optional = set(self.form.optional)
        if optional and file.suffix == ".parquet":
            from luthier_trainer.data.parquet import columns_of

            optional &= columns_of(file)
        return self.needed | optional

    def examples(self) -> Examples:
        train, evaluation, test = self._parts()
        rows = np.concatenate([train, evaluation, test])
        found = self._repeated(train)
        duplicates = self._places(found)
        warnings = self._repetitions(found, len(train))
        if self.dataset.deduplicate:
            train = np.setdiff1d(train, found)
        if self.mixes:
            whole, train = train, self._weighted(train)
            warnings += self._undrawn(whole, train)
        parts = {"train": train, "eval": evaluation, "test": test}
        labels, balance = self._balance(parts)
        warnings += self._alike(balance)
        check_pair_labels(self.tuning, parts, self.scan.unlike, self._sequence)
        warnings += check_decided(self.tuning, parts, self.scan.undecided, self._sequence)
        leaks = {name: self._leaks(parts[name], train) for name in ("eval", "test")}
        warnings += self._warnings(parts, leaks)
        facts = DatasetFacts(
            train=len(train),
            eval=len(evaluation),
            test=len(test),
            labels=len(labels),
            duplicates=len(found),
            leaked=sum(map(len, leaks.values())),
            unread=unread_words(self.scan.unread_rows),
        )
        template = self.form.template
        in_words = template is not None and self.tuning.task == "classification"
        return Examples(
            train=self._sequence(train),
            eval=self._sequence(evaluation),
            test=self._sequence(test),
            labels=labels,
            digest=sources.digest(self.sources),
            hashes=row_hashes(self.scan.whole[rows]),
            validators=_together([source.validators for source in self.sources]),
            facts=facts,
            warnings=warnings,
            completions={n: template.completion(n) for n in labels}
            if in_words and template
            else {},
            findings=Findings(
                columns=list(self.scan.columns),
                balance=balance,
                duplicates=duplicates,
                leaked=[place for rows in leaks.values() for place in self._places(rows)],
                unread=dict(self.scan.unread_rows),
            ),
            scale=self._scale(train),
            watched=self._sequence(self._sample(evaluation)),
            reported=self._sequence(self._sample(test if len(test) else evaluation)),
        )

    def _parts(self) -> tuple[Indices, Indices, Indices]:
        """Rows of train (mixed ones last, once each), eval and test, scanned."""
        dataset = self.dataset
        chosen = {"train": select(dataset.train or "train", self.splits, "dataset.train")}
        for name, expression in (("eval", dataset.eval), ("test", dataset.test)):
            if expression:
                chosen[name] = select(expression, self.splits, f"dataset.{name}")
        check_disjoint(chosen)
        for name, rows in chosen.items():
            self.scan.rows(rows, stratify=name == "train")
        for rows in self.mixes:
            self.scan.rows(rows)
        parts = {name: np.arange(r.start, r.stop, dtype=np.int64) for name, r in chosen.items()}
        none = np.arange(0, dtype=np.int64)
        if dataset.eval_fraction:
            parts["train"], parts["eval"] = self._divided(parts["train"], dataset.eval_fraction)
        mixed = [np.arange(rows.start, rows.stop, dtype=np.int64) for rows in self.mixes]
        train = np.concatenate([parts["train"], *mixed])
        return train, parts.get("eval", none), parts.get("test", none)

    def _divided(self, train: Indices, fraction: float) -> tuple[Indices, Indices]:
        strata, seed = None, self.tuning.training.seed
        if self.dataset.stratify_by:
            strata = self.scan.stratum_codes[train], list(self.scan.strata)
        if self.tuning.task == "preference":  # a prompt may have several pairs of answers
            rest, share = divide_groups(self.scan.asked[train], fraction, strata, seed)
        else:
            rest, share = divide(len(train), fraction, strata, seed)
        if not len(rest) or not len(share):
            raise data_error(
                "EmptySplit",
                f"evalFraction {fraction} leaves {len(rest)} rows to train and {len(share)} to "
                "evaluate; add rows or change it",
                "dataset.evalFraction",
            )
        return train[rest], train[share]

    def _sample(self, rows: Indices) -> Indices:
        """Those that are measured: files may be sorted, by label too."""
        most, seed = self.tuning.evaluation.max_samples, self.tuning.training.seed
        return rows[sample(self.scan.label_codes[rows], most, f"{seed}:measured")]

    def _weighted(self, train: Indices) -> Indices:
        """Rows of mixed sources as often as their weight says."""
        first = self.mixes[0].start
        parts = [train[train < first]]
        for number, (rows, source) in enumerate(zip(self.mixes, self.dataset.mix, strict=True)):
            own = train[(train >= rows.start) & (train < rows.stop)]
            parts.append(repeat(own, source.weight, f"{self.tuning.training.seed}:{number}"))
        drawn = np.concatenate(parts)
        if not len(drawn):
            raise data_error("EmptySplit", "the weights of mix leave no row", "dataset.mix")
        return drawn

    def _undrawn(self, whole: Indices, drawn: Indices) -> list[str]:
        """Labels of train that have no row any more."""
        labels = self._labels_of(whole)
        lost = sorted(labels - self._labels_of(drawn))
        if not lost:
            return []
        named = are_classes(labels, len(whole))
        names = ", ".join(map(repr, lost[:_PLACES])) if named else f"{len(lost)} labels"
        return [f"the weights of mix leave no row of {names}: not learnt"]

    def _labels_of(self, rows: Indices) -> set[str]:
        if not self.labelled:
            return set()
        groups = list(self.scan.labels)
        codes = np.unique(self.scan.label_codes[rows]).tolist()
        return {label for code in codes for label in groups[code]}

    def _repeated(self, train: Indices) -> Indices:
        """Rows of train that occur before."""
        _, first = np.unique(self.scan.whole[train], return_index=True)
        again = np.ones(len(train), dtype=bool)
        again[first] = False
        return train[again]

    def _leaks(self, rows: Indices, train: Indices) -> Indices:
        return rows[np.isin(self.scan.asked[rows], self.scan.asked[train])]

    def _balance(self, parts: dict[str, Indices]) -> tuple[list[str], Balance]:
        """The labels of train, and how many rows of each part have which."""
        if not self.labelled:
            return [], {}
        return balance_of(self.tuning, self.table, self.scan, parts)

    def _scale(self, train: Indices) -> tuple[float, float] | None:
        """Mean and deviation of the numbers of train."""
        if self.tuning.task != "regression":
            return None
        found = self.scan.numbers[train]
        mean, deviation = float(found.mean()), float(found.std())
        if not deviation > 0 or not math.isfinite(deviation):
            raise data_error(
                "NoSpread",
                "the numbers of all training rows are the same (or too large to tell apart): there "
                "is nothing to learn; look at columns.label",
                "dataset.columns.label",
            )
        return mean, deviation

    def _alike(self, balance: Balance) -> list[str]:
        """Labels, and columns, that may be meant as one."""
        labels = {label for counts in balance.values() for label in counts}
        rows = sum(counts.total() for counts in map(Counter, balance.values()))
        return [
            *twin_labels(labels, rows),
            *mixed_labels(self.scan.mixed, labels, rows),
            *twin_columns({*self.scan.columns, *stored_columns(self.sources)}, self.needed),
        ]

    def _repetitions(self, found: Indices, total: int) -> list[str]:
        dropped = ": left out" if self.dataset.deduplicate else ""
        return [f"{len(found)} of {total} train rows are duplicates{dropped}"] * bool(len(found))

    def _warnings(self, parts: dict[str, Indices], leaks: dict[str, Indices]) -> list[str]:
        """What isn't read, and rows of eval and test that training sees."""
        warnings = []
        if unread := self.scan.unread:
            rows_with = self.scan.unread_rows
            names = ", ".join(unread_words(rows_with))
            warnings.append(
                f"chats have {names} (first: {next(iter(unread.values()))}): nothing learns from it"
            )
        for name, rows in leaks.items():
            if len(rows):
                warnings.append(
                    f"{len(rows)} of {len(parts[name])} {name} rows are in train too (first: "
                    f"{self.table[int(rows[0])].place}): the metrics are optimistic"
                )
        return warnings

    def _places(self, rows: Indices) -> list[str]:
        return [self.table[int(index)].place for index in rows[:_PLACES]]

    def _sequence(self, indices: Indices) -> Sequence[Example]:
        if self.table.in_memory:
            return [self.scan.examples[index] for index in indices.tolist()]
        return OnDemand(self.table, self.form, indices)
