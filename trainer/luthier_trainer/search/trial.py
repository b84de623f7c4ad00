"""One trial: a training with its values, to its end or to where it is pruned.

What goes wrong costs the trial alone, but for what would go wrong in all of them.
"""

import gc
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from luthier_api.finetunejob import Checkpoints
from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_api.searchable import SEARCHABLE
from luthier_api.searchspace import applied, trials_of, written
from luthier_trainer.errors import Interrupted, Superseded, TrainerError, from_exception
from luthier_trainer.finetune.finetune import train_only
from luthier_trainer.finetune.job import Job, Trying
from luthier_trainer.finetune.state import State
from luthier_trainer.log import log, log_traceback
from luthier_trainer.machine import device
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.search import asha, standing
from luthier_trainer.search.records import Record, folder_of
from luthier_trainer.search.shared import Shared, TrialLedger
from luthier_trainer.storage.objectstore import join
from luthier_trainer.training.evaluations import AT_THE_END

if TYPE_CHECKING:
    from luthier_trainer.training.loop import Outcome

# What is wrong with the world is no trial's fault.
_NOT_OF_A_TRIAL = (
    ExitCode.INVALID_RUN_SPEC,
    ExitCode.NOT_FOUND,
    ExitCode.STORAGE_UNAVAILABLE,
    ExitCode.DENIED,
    ExitCode.OUTPUT_CLAIMED,
)
# What the spec says, or the data, is every trial's.
_OF_THE_SPEC = (ExitCode.DATA, ExitCode.UNSUPPORTED)
_DIVERGED = ("LossNotFinite", "GradientNotFinite")


def make(shared: Shared, record: Record, base: BaseModel, model_folder: Path) -> None:
    """Make a trial that this pod has taken. Raises TrainerError, Interrupted or Superseded."""
    began = time.monotonic()
    settings = ", ".join(f"{path} {written(it)}" for path, it in sorted(record.settings.items()))
    log(f"trial {record.number} of {trials_of(shared.search)}: {settings}")
    trial = Trial(shared, record)
    order, pod = _order(shared, record), shared.state.pod
    telling = shared.state.telling.of_trial(order, record.number)
    telling.begin(shared.output, shared.folder, shared.examples.digest, base, pod.started_from)
    state = State(order, pod, shared.examples, telling)
    try:
        outcome = train(trial, state, base, model_folder)
    except (Interrupted, Superseded):
        state.save_what_waits()
        telling.end("Interrupted")
        if not state.interrupt.superseded:
            shared.records.release(trial.record)
        raise
    except Exception as error:
        telling.end("Failed")
        failure = from_exception(error)
        if _is_everyones(shared, failure):
            raise
        if failure.exit_code == ExitCode.INTERNAL:
            log_traceback(error)
        fail(shared, trial.record, f"{failure.error.code}: {failure.error.message}", began)
    else:
        telling.know(pruned=str(trial.pruned).lower())
        telling.end("Finished")
        _end(trial, outcome, began)
    finally:
        if state.writer:
            state.writer.close()
        shutil.rmtree(shared.folder / "trial", ignore_errors=True)
        del state
        _tidy()


def train(trial: "Trial", state: State, base: BaseModel, model_folder: Path) -> "Outcome":
    """Its training, with its last checkpoint in storage."""
    shared = trial.shared
    folder = shared.folder / "trial"
    folder.mkdir(exist_ok=True)
    store = shared.store_of(trial.record.number)
    job = Job(
        state=state,
        attempts=TrialLedger(shared.attempts),
        output=store,
        target=store,
        base=base,
        model_folder=model_folder,
        examples=shared.examples,
        folder=folder,
        trial=Trying(shared.search.objective.metric, trial.goes_on),
        encodings=shared.encodings,
    )
    outcome = train_only(job)
    assert state.writer
    state.writer.drain(state.spec.storage.retry_seconds + 60)
    return outcome


def fail(shared: Shared, record: Record, why: str, began: float | None = None) -> None:
    """Note that a trial failed, and of what."""
    log(f"trial {record.number}: failed: {why}")
    seconds = record.seconds + (time.monotonic() - began if began else 0)
    shared.records.end(record, "Failed", error=why[:1000], seconds=round(seconds, 1))
    shared.records.prune([record.number])
    shared.note_usage()


def _end(trial: "Trial", outcome: "Outcome", began: float) -> None:
    """Note what came of it; of all trials that ended only the best keeps its checkpoints."""
    shared, name = trial.shared, _measured(trial.shared.search.objective.metric)
    at = dict(zip(*outcome.journal.series(f"eval_{name}"), strict=True))
    step = outcome.best_step if outcome.best_step in at else max(at, default=0)
    value = at.get(step)
    if value is None or not math.isfinite(value):
        fail(shared, trial.record, f"its {name} on eval is no number", began)
        return
    ended = shared.records.end(
        trial.record,
        "Pruned" if trial.pruned else "Complete",
        step=outcome.step,
        value=value,
        seconds=round(trial.record.seconds + time.monotonic() - began, 1),
    )
    log(f"trial {ended.number}: {ended.state}, {name} {value:.4f} at step {step}")
    best = standing.best_of(shared.search, shared.records.read())
    candidates = {ended.number, *trial.best_before}
    shared.records.prune(sorted(candidates - ({best.number} if best else set())))
    shared.note_usage()


def _is_everyones(shared: Shared, failure: TrainerError) -> bool:
    """Whether every trial would fail so: by what no trial changes."""
    if failure.exit_code in _NOT_OF_A_TRIAL:
        return True
    param = failure.error.param or ""
    searched = (".".join(SEARCHABLE[path].place) for path in shared.search.space)
    own = any(param == it or it.startswith(f"{param}.") for it in searched)
    return failure.exit_code in _OF_THE_SPEC and not own and failure.error.code not in _DIVERGED


def _order(shared: Shared, record: Record) -> RunSpec:
    """The order of a trial: it is measured at each rung, or at its end."""
    tuning, prune = applied(shared.tuning, record.settings), shared.search.prune
    if tuning.training.eval_every_steps is None:
        every = prune.min_steps if prune else AT_THE_END
        training = tuning.training.model_copy(update={"eval_every_steps": every})
        tuning = tuning.model_copy(update={"training": training})
    return shared.state.spec.model_copy(
        update={
            "fine_tuning": tuning,
            "output": join(shared.state.spec.output, folder_of(record.number)),
            "checkpoints": Checkpoints(keep_last=1),
        }
    )


class Trial:
    """What a training is told while it is a trial: whether it goes on."""

    def __init__(self, shared: Shared, record: Record) -> None:
        self.shared = shared
        self.record = record
        self.pruned = False
        best = standing.best_of(shared.search, shared.records.read())
        self.best_before = {best.number} if best else set[int]()

    def goes_on(self, step: int, measured: Mapping[str, float]) -> bool:
        """Note an evaluation at a rung, and compare it. Where a pod went back to its checkpoint,
        an evaluation that was noted is compared as it was."""
        search, records = self.shared.search, self.shared.records
        if search.prune is None or step < self.record.step:
            return True
        again = step == self.record.step
        rung = asha.rung_at(search.prune, step, () if again else self.record.rungs)
        if rung is None:
            return True
        value = measured[_measured(search.objective.metric)]
        if math.isfinite(value):
            rungs = {**self.record.rungs, rung: value}
            self.record = records.write(self.record, step=step, value=value, rungs=rungs)
        others = [it.rungs for it in records.read() if it.number != self.record.number]
        known = asha.at_rung(others, rung)
        maximize = search.objective.direction == "maximize"
        self.pruned = not asha.goes_on(value, known, search.prune, maximize=maximize)
        if self.pruned:
            log(
                f"trial {self.record.number}: pruned at step {step}: not among the best "
                f"1/{search.prune.reduction} of {len(known) + 1}"
            )
        return not self.pruned


def _measured(metric: str) -> str:
    """As an evaluation calls the objective (metrics.watched)."""
    name = metric.removeprefix("eval_")
    return "rougeL" if name == "rouge" else name


def _tidy() -> None:
    """Let go of what a training leaves in this process."""
    gc.collect()
    if device.on_gpu():
        torch.cuda.empty_cache()
