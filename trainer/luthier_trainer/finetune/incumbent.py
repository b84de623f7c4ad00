"""What is in use, asked the rows that the new result was measured on, in the new result's run.

It answers as it was published: with its own tokenizer, template, head and base. What it is asked,
and how its answers count, is as of the new result.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier_api.finetuning import FineTuning
from luthier_trainer.data import prepare as data
from luthier_trainer.data.examples import Examples
from luthier_trainer.evaluation.measure import Measurement
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.methods.published import load_published
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import BaseSource, base_config, load_tokenizer
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.objectives.reading import read_by
from luthier_trainer.objectives.tokens import pad_token
from luthier_trainer.published import ask as asking
from luthier_trainer.published.artifact import Artifact, base_of, open_artifact

# (model, objective, items) → what the model made of them.
Measure = Callable[[Any, Objective, Sequence[Item]], Measurement]
_FORM = ("template", "columns", "chat_template", "loss_on")


class NotComparableError(Exception):
    """The result can't be compared with what is in use; the text says why."""


def measure_incumbent(
    job: Job, prepared: Prepared, plan: Plan, folder: Path, measure: Measure
) -> Measurement:
    """Fetch it to `folder`, load it and let it answer. Raises NotComparableError, TrainerError, or
    whatever loading a model does."""
    order, ours = job.spec, job.tuning
    assert order.incumbent
    artifact = open_artifact(order.incumbent, order, "promote")
    method = artifact.tuning.method
    part = "model" if method.type == "full" else "adapter"
    # Code of the user's, which evaluates it too, finds all of what was published.
    artifact.download(folder, {part} if prepared.script is None else {"adapter", "model"})
    if method.type == "full":
        model_folder = folder / part
    elif artifact.manifest["baseModel"]["digest"] == job.base_digest:
        model_folder = job.model_folder
    else:
        model_folder = base_of(artifact, order)
    tuning = _asked_as(artifact.tuning, ours)
    examples = _examples(job, prepared, tuning, folder)
    tokenizer = load_tokenizer(folder / part)
    objective = choose(
        tuning,
        examples,
        tokenizer,
        describe(model_folder),
        positions=positions_of(base_config(model_folder)),
        custom=prepared.own_loss,
        now=job.state.pod.began,
    )
    _check_labels(artifact, objective.head.labels)
    rows = range(len(examples.reported))
    gold = [objective.gold(examples.reported[row]) for row in rows]
    if gold != [plan.objective.gold(prepared.examples.reported[row]) for row in rows]:
        raise NotComparableError("what counts as right on these rows is another than for it")
    told = asking.read(folder / part)
    objective = read_by(objective, told.reading if told else None)
    items = objective.encode(examples.reported)
    source = BaseSource(
        folder=model_folder,
        head=objective.head,
        longest=max(lengths(items)),
        seed=ours.training.seed,
        pad_id=pad_token(tokenizer),
    )
    model = load_published(method, source, folder / part, plan.precision)
    return measure(model, objective, items)


def _asked_as(theirs: FineTuning, ours: FineTuning) -> FineTuning:
    """Our rows, in the form in which it learnt to read its own."""
    if theirs.task != ours.task:
        raise NotComparableError(f"it is of the task {theirs.task}, and this one of {ours.task}")
    form = {name: getattr(theirs.dataset, name) for name in _FORM}
    read = {name: getattr(theirs.training, name) for name in ("max_length", "similarity")}
    return ours.model_copy(
        update={
            "dataset": ours.dataset.model_copy(update=form),
            "training": ours.training.model_copy(update=read),
        }
    )


def _examples(job: Job, prepared: Prepared, tuning: FineTuning, folder: Path) -> Examples:
    """The rows in its form: read again only where that is another."""
    mine = prepared.examples
    if tuning.dataset == job.tuning.dataset:
        return mine
    order = job.spec.model_copy(update={"fine_tuning": tuning})
    found = data.load(order, folder / "rows")
    places = [
        [each.reported[row].place for row in range(len(each.reported))] for each in (found, mine)
    ]
    if places[0] != places[1]:
        raise NotComparableError("it reads other rows of this data, by its template or columns")
    return found


def _check_labels(artifact: Artifact, labels: tuple[str, ...]) -> None:
    """A head answers with the classes that it was trained for."""
    if not labels:
        return
    own = artifact.manifest.get("labels")
    if own is None:
        raise NotComparableError("its manifest, of an older version, doesn't tell its classes")
    if own != list(labels):
        new, gone = sorted(set(labels) - set(own)), sorted(set(own) - set(labels))
        differences = [
            f"{words} {', '.join(names[:5])}"
            for words, names in (("it doesn't know", new), ("only it knows", gone))
            if names
        ]
        raise NotComparableError(f"its classes are others: {'; '.join(differences)}")
