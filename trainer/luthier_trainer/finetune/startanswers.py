"""What the model that a training begins with says of answers, for objectives that compare with it.

Beside an adapter on the base it can be asked at any time, as the base is there. Where all weights
are trained, or a training goes on from an adapter, it is gone after the first step: it is asked
once, before that, about all rows that are learnt and measured, and what it said is kept beside the
checkpoints, so that a training that goes on compares with the same numbers.

checkpoints/start.json   log-probabilities by part of the data and row, and what they are of
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from luthier_api.result import ExitCode
from luthier_trainer.distributed.lockstep import in_step
from luthier_trainer.distributed.world import World
from luthier_trainer.documents import parse
from luthier_trainer.errors import TrainerError, measuring
from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.tokencache import digest_of
from luthier_trainer.log import log
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives.answers import InContext
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Item, Prediction
from luthier_trainer.objectives.preferenceloss import needs_start
from luthier_trainer.objectives.preferences import Preferences, Scores
from luthier_trainer.objectives.start import Start, unlearnt
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.training.checkpointfolder import FOLDER

KEY = f"{FOLDER}/start.json"

# By part of the data (train, watched, reported): AnswerTokens.start of each row.
Kept = Mapping[str, Sequence[Sequence[float]]]


def begin(job: Job, prepared: Prepared, tuned: Tuned, precision: Precision, resumes: bool) -> Kept:
    """Let an objective that needs it compare with the model as it is now. `resumes`: whether that
    isn't what the training goes on with. Raises TrainerError (StartLost), Interrupted."""
    objective = prepared.objective
    if not isinstance(objective, Preferences):
        return {}
    if job.tuning.method.type != "full" and not job.state.pod.started_from:
        objective.start = Start(tuned.base, precision.autocast)
    elif needs_start(objective.settings):
        return _known(job, prepared, objective, tuned, precision, resumes)
    return {}


def as_start(objective: Any, tuned: Tuned) -> AbstractContextManager[Any]:
    """Within it the model yielded answers as the base, for an objective that may ask it too."""
    start = getattr(objective, "start", None)
    return start() if start else tuned.base()


def in_context(
    objective: Any, items: Sequence[Item], start: Sequence[Sequence[float]] | None = None
) -> Sequence[Item]:
    """Items as the objective learns and measures them. `start`: what the start said of each."""
    if not isinstance(objective, Preferences) or not len(items):
        return items
    return InContext(items, start=start, unrelated=objective.max_length if objective.kto else 0)


def of_reported(kept: Kept, base: Sequence[Prediction]) -> Sequence[Sequence[float]] | None:
    """What the start says of the rows that are reported: kept, or the base's answers."""
    if "reported" in kept:
        return kept["reported"]
    return [Scores(*each.scores).start for each in base] if base[0].scores else None


def _known(
    job: Job,
    prepared: Prepared,
    objective: Preferences,
    tuned: Tuned,
    precision: Precision,
    resumes: bool,
) -> Kept:
    """What the start says of all rows: as it was kept, or asked now, while the model is it."""
    parts = {
        "train": prepared.items,
        "watched": prepared.eval_items,
        "reported": prepared.encoded(job, "reported", prepared.examples.reported),
    }
    of, world = digest_of(prepared.cache.shape), job.world
    found: Kept | None = world.share(_read(job.output, of, parts) if world.is_first else None)
    if found:
        return found
    if resumes and job.state.pod.started_from:
        raise _lost()
    total = sum(map(len, parts.values()))
    log(f"asking the model that the training begins with about {total:,} rows, once")
    progress = RowProgress(
        job.reporter, "Asking the start", math.ceil(total / world.size), job.interrupt.check
    )
    stage, batch_size = job.reporter.progress.stage, job.tuning.evaluation.batch_size
    with measuring(batch_size):
        kept = {
            name: _ask(
                tuned.model,
                objective,
                items,
                batch_size=batch_size,
                autocast=precision.autocast,
                on_rows=progress,
                world=world,
            )
            for name, items in parts.items()
        }
    job.reporter.update(stage=stage)
    if world.is_first:
        job.attempts.fence()
        document = {"format": 1, "of": of, "parts": kept}
        job.output.write(KEY, json.dumps(document).encode())
    return kept


def _read(store: ObjectStore, of: str, parts: Mapping[str, Sequence[Item]]) -> Kept | None:
    """What was kept of these parts. `of`: a digest of all that shapes the rows."""
    data = store.read(KEY)
    if data is None:
        return None
    try:
        document = parse(data)
        kept: Kept = {name: document["parts"][name] for name in parts}
        fits = document["of"] == of and all(len(kept[n]) == len(it) for n, it in parts.items())
    except (ValueError, KeyError, TypeError):
        return None
    return kept if fits else None


def _ask(
    model: nn.Module,
    objective: Preferences,
    items: Sequence[Item],
    *,
    batch_size: int,
    autocast: torch.dtype | None,
    on_rows: Callable[[int], None],
    world: World,
) -> list[list[float]]:
    """What the model, which is the start, says of each item; processes share the rows."""
    rows = in_context(objective, items)
    known = lengths(rows)
    order = sorted(range(len(rows)), key=known.__getitem__, reverse=True)
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    found: dict[int, list[float]] = {}
    with unlearnt(model, autocast), in_step(unwrapped(model)):
        for batch in batches[world.rank :: world.size]:
            said = objective.of_start(model, [rows[index] for index in batch], autocast)
            found.update(zip(batch, said, strict=True))
            on_rows(len(batch))
    everyones = dict(pair for part in world.gather(list(found.items())) for pair in part)
    return [everyones[index] for index in range(len(rows))]


def _lost() -> TrainerError:
    return TrainerError(
        ExitCode.NOT_FOUND,
        "StartLost",
        f"{KEY}, which the training compares with, is gone or of other rows, and what the training "
        "began with can't be asked any more; nobody but the trainer may delete or write below "
        "checkpoints/. Change the spec to train anew",
        "training.preference",
    )
