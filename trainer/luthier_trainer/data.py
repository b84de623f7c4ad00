"""Preflight of the dataset: from its files to examples in words, or to a clear error.

Nothing slow is imported here: a mistake in the data shows within seconds.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from luthier_api.finetuning import FineTuning
from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.objectstore import ObjectStore
from luthier_trainer.rows import FORMATS, Row, read_rows
from luthier_trainer.splits import assign
from luthier_trainer.storage import open_store
from luthier_trainer.template import Template, Text, parse_template


@dataclass(frozen=True)
class Example:
    """A row in words. `label` is the value of the template's last column."""

    text: Text
    label: str
    place: str


@dataclass(frozen=True)
class Examples:
    """The dataset, checked. `labels` is empty unless the task is classification."""

    template: Template
    train: list[Example]
    eval: list[Example]
    test: list[Example]
    labels: list[str]
    digest: str
    summary: str
    warnings: list[str] = field(default_factory=list)

    @property
    def report_split(self) -> str | None:
        """The rows that the result is measured on."""
        return "test" if self.test else "eval" if self.eval else None


@dataclass(frozen=True)
class Source:
    """The files of a dataset: name → content."""

    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        """sha256 over the sorted digests of the files."""
        digests = sorted(hashlib.sha256(content).hexdigest() for content in self.files.values())
        return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()


def fetch(uri: str, access: S3Access, file_roots: list[str]) -> Source:
    """The dataset's files: one file, or those of a folder. Raises TrainerError."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    if PurePosixPath(name).suffix in FORMATS:
        store = open_store(folder, access, "dataset.uri", file_roots)
        content = store.read(name)
        if content is None:
            raise TrainerError(
                ExitCode.NOT_FOUND,
                "DatasetNotFound",
                f"{uri}: no such file; upload it, or correct the URI",
                "dataset.uri",
            )
        return Source({name: content})
    return _fetch_folder(open_store(uri, access, "dataset.uri", file_roots))


def _fetch_folder(store: ObjectStore) -> Source:
    names = [
        entry.key
        for entry in store.entries()
        if "/" not in entry.key and PurePosixPath(entry.key).suffix in FORMATS
    ]
    if not names:
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "DatasetNotFound",
            f"{store.uri}: no file {', '.join(f'*{suffix}' for suffix in FORMATS)} there; upload "
            "one per split (train.jsonl, test.jsonl), or correct the URI",
            "dataset.uri",
        )
    stems = Counter(PurePosixPath(name).stem for name in names)
    doubled = [stem for stem, count in stems.items() if count > 1]
    if doubled:
        raise data_error(
            "AmbiguousSplit",
            f"{store.uri}: several files for the split {doubled[0]!r}; keep one per split",
        )
    return Source({name: store.read(name) or b"" for name in names})


def prepare(source: Source, spec: FineTuning) -> Examples:
    """Parse, split, render and check. Raises TrainerError with exit code DATA."""
    template = parse_template(spec.dataset.template or "")
    splits = _parse_splits(source)
    needed = list(dict.fromkeys(template.columns))
    if spec.dataset.stratify_by:
        needed.append(spec.dataset.stratify_by)
    _check_columns(splits, needed, spec)

    parts = assign(spec.dataset, splits, spec.training.seed)
    train, evaluation, test = ([_example(row, template) for row in rows] for rows in parts)
    labels = []
    if spec.task == "classification":
        labels = sorted({example.label for example in train})
        _check_labels(labels, {"eval": evaluation, "test": test})
    return Examples(
        template=template,
        train=train,
        eval=evaluation,
        test=test,
        labels=labels,
        digest=source.digest,
        summary=_summary(train, evaluation, test, labels),
        warnings=_warnings(train, evaluation, test),
    )


def _parse_splits(source: Source) -> dict[str, list[Row]]:
    if len(source.files) == 1:
        name, content = next(iter(source.files.items()))
        stem = PurePosixPath(name).stem
        rows = read_rows(name, content)
        splits = {"train": rows, stem: rows} if re.fullmatch(r"\w+", stem) else {"train": rows}
    else:
        splits = {
            PurePosixPath(name).stem: read_rows(name, content)
            for name, content in source.files.items()
        }
    if not any(splits.values()):
        raise data_error(
            "EmptyDataset", f"{', '.join(source.files)}: no rows; add examples to the file"
        )
    return splits


def _check_columns(splits: dict[str, list[Row]], needed: list[str], spec: FineTuning) -> None:
    rows = [row for rows in splits.values() for row in rows]
    known = list(dict.fromkeys(column for row in rows for column in row.values))
    for column in needed:
        if column not in known:
            of_template = column != spec.dataset.stratify_by
            raise data_error(
                "UnknownTemplateField" if of_template else "UnknownColumn",
                f"the dataset has no column {column!r}; its columns are: {', '.join(known[:50])}",
                "dataset.template" if of_template else "dataset.stratifyBy",
            )
    for row in rows:
        for column in needed:
            if column not in row.values:
                raise data_error(
                    "MissingColumn",
                    f"{row.place}: the row has no {column!r}; add it or remove the row",
                )


def _example(row: Row, template: Template) -> Example:
    label = row.values[template.label_column]
    if not label.strip():
        raise data_error(
            "EmptyCompletion",
            f"{row.place}: {template.label_column!r} is empty: there is nothing to learn; fill "
            "it in or remove the row",
        )
    return Example(template.render(row.values), label, row.place)


def _check_labels(labels: list[str], others: dict[str, list[Example]]) -> None:
    if len(labels) < 2:
        raise data_error(
            "SingleLabel",
            f"all training rows have the label {labels[0]!r}; classification needs at least two",
            "dataset.train",
        )
    known = set(labels)
    for split, examples in others.items():
        for example in examples:
            if example.label not in known:
                raise data_error(
                    "LabelWithoutExamples",
                    f"{example.place}: the label {example.label!r} of {split} has no example in "
                    f"train (which has {', '.join(labels[:20])}); add some or remove the row",
                    f"dataset.{split}",
                )


def _summary(
    train: list[Example], evaluation: list[Example], test: list[Example], labels: list[str]
) -> str:
    parts = [f"{len(train):,} train"]
    parts += [f"{len(evaluation):,} eval"] if evaluation else []
    parts += [f"{len(test):,} test"] if test else []
    text = ", ".join(parts) + " rows"
    return f"{text}, {len(labels)} labels" if labels else text


def _warnings(train: list[Example], evaluation: list[Example], test: list[Example]) -> list[str]:
    """Duplicates, and rows of eval and test that training sees."""
    warnings = []
    seen = Counter(example.text for example in train)
    duplicates = len(train) - len(seen)
    if duplicates:
        warnings.append(f"{duplicates} of {len(train)} train rows are duplicates")
    prompts = {example.text.prompt for example in train}
    for name, examples in (("eval", evaluation), ("test", test)):
        leaked = [example for example in examples if example.text.prompt in prompts]
        if leaked:
            warnings.append(
                f"{len(leaked)} of {len(examples)} {name} rows are in train too (first: "
                f"{leaked[0].place}): the metrics are optimistic"
            )
    return warnings
