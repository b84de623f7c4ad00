"""What the first row of a file tells: which task its columns are for, and what each means."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from luthier_cli.errors import CliError

_MAX_BYTES = 4 << 20  # of a first row, and of a file in JSON


@dataclass(frozen=True)
class Form:
    """What rows are for. `columns`: by what they mean; else a template."""

    task: str
    columns: Mapping[str, str] | None = None
    template: str | None = None


# By the columns that a row must have: the task, and what they mean. The first that fits is taken.
_FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("generation", {"messages": "messages"}),
    ("generation", {"messages": "conversations"}),
    ("preference", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
    ("preference", {"chosen": "chosen", "rejected": "rejected"}),
    ("preference", {"prompt": "prompt", "completion": "completion", "label": "label"}),
    ("generation", {"instruction": "instruction", "input": "input", "output": "output"}),
    ("generation", {"instruction": "instruction", "output": "output"}),
    ("generation", {"prompt": "prompt", "completion": "completion"}),
    ("generation", {"prompt": "question", "completion": "answer"}),
    ("summarization", {"prompt": "document", "completion": "summary"}),
    ("summarization", {"prompt": "article", "completion": "summary"}),
    ("extraction", {"tokens": "tokens", "tags": "tags"}),
    ("extraction", {"tokens": "tokens", "tags": "ner_tags"}),
    ("extraction", {"text": "text", "spans": "spans"}),
    ("similarity", {"first": "sentence1", "second": "sentence2", "label": "score"}),
    ("similarity", {"first": "sentence1", "second": "sentence2", "label": "label"}),
    ("classification", {"text": "text", "label": "label"}),
    ("classification", {"text": "text", "labels": "labels"}),
    ("regression", {"text": "text", "label": "score"}),
    ("classification", {"text": "sentence", "label": "label"}),
)
# Columns by what they mean, as each task usually has them.
_USUAL: dict[str, dict[str, str]] = {
    "generation": {"messages": "messages"},
    "summarization": {"prompt": "document", "completion": "summary"},
    "classification": {"text": "text", "label": "label"},
    "regression": {"text": "text", "label": "score"},
    "extraction": {"tokens": "tokens", "tags": "tags"},
    "similarity": {"first": "sentence1", "second": "sentence2", "label": "score"},
    "preference": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
}
TASKS = tuple(_USUAL)


def form_of(row: Mapping[str, Any]) -> Form | None:
    """What a row's columns are for; None: nobody can tell."""
    for task, columns in _FORMS:
        if set(columns.values()) <= row.keys():
            return Form(task, columns)
    texts = [name for name, value in row.items() if isinstance(value, str) and _is_plain(name)]
    if texts == ["text"]:
        return Form("generation", template="{text}")
    if len(texts) == len(row) == 2:
        return Form("classification", template=f"{{{texts[0]}}}\n{{{texts[1]}}}")
    return None


def usual(task: str) -> Form:
    """Of a task, as its rows usually are."""
    return Form(task, _USUAL[task])


def for_task(form: Form | None, task: str) -> Form | None:
    """The form, if it is one of that task."""
    return form if form is not None and form.task == task else None


def _is_plain(name: str) -> bool:
    return name.isidentifier()


def first_row(path: Path) -> dict[str, Any] | None:
    """The first row of a file in JSON Lines, JSON, CSV or TSV; None: of another format. Raises
    CliError."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = islice(iter(lambda: file.readline(_MAX_BYTES), ""), 1000)
                return next(
                    csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ","), None
                )
        if suffix in (".jsonl", ".json"):
            with path.open(encoding="utf-8-sig") as file:
                text = file.read(_MAX_BYTES) if suffix == ".json" else file.readline(_MAX_BYTES)
            found = json.loads(text)
            row = found[0] if isinstance(found, list) and found else found
            return row if isinstance(row, dict) else None
    except OSError as error:
        raise CliError(f"can't read {path}: {error.strerror}", "check the path") from None
    except (ValueError, csv.Error, RecursionError):
        return None
    return None
