"""A first manifest, of a model, data and a task."""

from dataclasses import dataclass
from pathlib import Path

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli import paths, rowforms
from luthier_cli.convert import places
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Reader, Said, UnsaidError
from luthier_cli.convert.settle import settle
from luthier_cli.convert.told import Fate
from luthier_cli.errors import CliError
from luthier_cli.rowforms import Form

# What tells how good an answer is, by task; loss is always told.
_METRICS = {
    "classification": ["accuracy", "f1"],
    "regression": ["spearman"],
    "summarization": ["rouge"],
    "preference": ["preference_accuracy"],
}
_OF_FORM = {"tags": ["entity_f1"], "spans": ["entity_f1"], "label": ["spearman"]}


@dataclass(frozen=True)
class Answers:
    """What was asked, or said by options."""

    name: str
    model: str
    data: str
    task: str
    namespace: str | None = None
    output: str | None = None
    gpus: int = 0


def local_file(data: str) -> Path | None:
    """The file of this machine that is named, if one is."""
    path = paths.path_of(data)
    return path if not paths.is_uri(data) and path.is_file() else None


def form(data: str) -> Form | None:
    """What the first row of a file of this machine tells."""
    path = local_file(data)
    row = rowforms.first_row(path) if path else None
    return rowforms.form_of(row) if row else None


def starter(answers: Answers, found: Form | None) -> Draft:
    """The manifest, valid. Raises CliError."""
    draft = Draft(FINE_TUNE_JOB, answers.name, answers.namespace)
    _place(draft, "model.uri", places.model, answers.model)
    draft.put("task", answers.task)
    _place(draft, "dataset.uri", places.dataset, answers.data)
    fits = rowforms.for_task(found, answers.task)
    rows = fits or rowforms.usual(answers.task)
    fate, why = (Fate.SAME, "") if fits else (Fate.FILL, "your columns, by what they mean")
    if rows.columns:
        draft.put("dataset.columns", dict(rows.columns), fate=fate, why=why)
    else:
        draft.put("dataset.template", rows.template, fate=fate, why=why)
    if answers.task == "preference" and "completion" in (rows.columns or {}):
        draft.put("training.preference.objective", "kto")
    draft.put("dataset.evalFraction", 0.1)
    draft.put("method.type", "lora")
    draft.put("training.epochs", 3)
    draft.put("training.learningRate", "auto")
    draft.put("training.perDeviceBatchSize", "auto")
    if metrics := _metrics(answers.task, rows):
        draft.put("evaluation.metrics", metrics)
    if answers.output:
        draft.put("output.uri", answers.output)
    if answers.gpus:
        draft.put("placement.gpus", answers.gpus)
    return settle(draft)


def _metrics(task: str, rows: Form) -> list[str]:
    if task in ("extraction", "similarity"):
        columns = rows.columns or {}
        return next((found for name, found in _OF_FORM.items() if name in columns), [])
    if task == "preference" and "completion" in (rows.columns or {}):
        return ["reward_accuracy"]
    return _METRICS.get(task, [])


def _place(draft: Draft, target: str, reader: Reader, value: str) -> None:
    try:
        found = reader(value)
    except UnsaidError as reason:
        raise CliError(f"{value!r}: {reason}") from None
    if isinstance(found, Said):
        draft.put(target, found.value, value, fate=found.fate, why=found.why)
    else:
        draft.put(target, found)


def next_steps(file: str, answers: Answers, draft: Draft) -> list[str]:
    """The commands that come next."""
    local, model = local_file(answers.data), paths.path_of(answers.model)
    options = [f"--model {answers.model}"] if model.is_dir() else []
    options += [f"--dataset {answers.data}"] if local else []
    steps = [f"luthier run {' '.join([file, *options])}"]
    uri = draft.get("dataset.uri")
    if local and isinstance(uri, str) and uri.startswith("s3://"):
        steps.append(f"luthier upload {answers.data} {uri.rpartition('/')[0]}")
    return [f"luthier validate {file}", *steps, f"kubectl apply -f {file}"]
