"""The downloaded bundle as its users have it: each adapter, and the base alone, is asked the test
rows of every task."""

import hashlib
import importlib.util
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import track

from luthier_cluster import ClusterError
from luthier_demo.artifacts import MANIFEST

ROWS = 60  # of each task
_NEW_TOKENS = 4  # more than any label has


@dataclass(frozen=True)
class Question:
    """A prompt, and the word that answers it."""

    prompt: str
    label: str


@dataclass(frozen=True)
class Score:
    """How many of a task's questions an adapter answers right. Without one: the base alone."""

    task: str
    adapter: str | None
    right: int
    asked: int


Tasks = Mapping[str, Sequence[Question]]


def questions(manifest: Path, dataset: Path) -> list[Question]:
    """The first ROWS test rows, as a FineTuneJob's template shows them to the model."""
    template: str = yaml.safe_load(manifest.read_text())["spec"]["dataset"]["template"]
    prompt, _, column = template.removesuffix("}").rpartition("{")
    with (dataset / "test.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, ROWS)]
    return [Question(prompt.rstrip(" ").format(**row), row[column]) for row in rows]


def scores(package: Path, tasks: Tasks, kept: Path) -> list[Score]:
    """Every adapter of the package, and none, on every task.

    Asked once: `kept` is the file with what the same package answered to the same questions.
    Raises ClusterError where the package doesn't run.
    """
    asked = {name: [asdict(question) for question in each] for name, each in tasks.items()}
    text = (package / MANIFEST).read_text() + json.dumps(asked)
    key = hashlib.sha256(text.encode()).hexdigest()
    if kept.is_file() and (found := json.loads(kept.read_text()))["key"] == key:
        return [Score(**score) for score in found["scores"]]
    try:
        measured = _ask(load(package), tasks)
    except RuntimeError as error:
        raise ClusterError(
            f"onnxruntime-genai can't run {package}: {error}\n"
            f"{package / 'README.md'} shows how to try it by hand"
        ) from error
    document = {"key": key, "scores": [asdict(score) for score in measured]}
    kept.write_text(json.dumps(document, indent=2))
    return measured


def load(package: Path) -> Any:
    """The bundle, by the loader that lies in its package."""
    spec = importlib.util.spec_from_file_location("luthier_bundle", package / "luthier_bundle.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Bundle(package)


def is_right(answer: str, label: str) -> bool:
    """Whether its first word is the label; case doesn't count."""
    return first_word(answer).casefold() == label.casefold()


def first_word(answer: str) -> str:
    """Its first letters and digits in a row; empty where it has none."""
    found = re.search(r"[^\W_]+", answer)
    return found.group() if found else ""


def _ask(bundle: Any, tasks: Tasks) -> list[Score]:
    pairs = list(itertools.product([*bundle.adapters, None], tasks))
    right = dict.fromkeys(pairs, 0)
    every = [(pair, question) for pair in pairs for question in tasks[pair[1]]]
    console = Console(stderr=True)
    for pair, question in track(
        every,
        "  asking the bundle",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        answer = bundle.generate(pair[0], question.prompt, max_new_tokens=_NEW_TOKENS)
        right[pair] += is_right(answer, question.label)
    return [
        Score(task, adapter, count, len(tasks[task])) for (adapter, task), count in right.items()
    ]
