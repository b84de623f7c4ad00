"""A worker of a search: one trial after the other, and at the end the best one's artifact."""

import gc
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from luthier_api.finetunejob import Checkpoints
from luthier_api.finetuning import FineTuning
from luthier_api.result import ExitCode, RunResult
from luthier_api.runspec import RunSpec
from luthier_api.runstatus import Usage
from luthier_api.searchable import SEARCHABLE
from luthier_api.searchspace import applied, trials_of, workers_of
from luthier_trainer import device
from luthier_trainer.attempts import Attempts
from luthier_trainer.data.examples import Examples
from luthier_trainer.errors import (
    OUT_OF_MEMORY,
    Interrupted,
    Superseded,
    TrainerError,
    from_exception,
)
from luthier_trainer.log import log, log_traceback
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.run import Run
from luthier_trainer.search import asha, standing
from luthier_trainer.search.page import search_page
from luthier_trainer.search.records import Record, Records, folder_of
from luthier_trainer.search.strategies import settings_of
from luthier_trainer.stages import Encodings, Stages, Trying
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store
from luthier_trainer.training.checkpointfolder import complete_steps
from luthier_trainer.training.evaluations import AT_THE_END

if TYPE_CHECKING:
    from luthier_trainer.training.finetune import Outcome

# Pods that may die of a trial before it gets further.
_DEATHS = 2
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
# Of a report: what a single trial says of itself is no news of the run.
_HELD = ("eta_seconds", "checkpoints", "resumed_from_step", "estimate", "resolved", "overfitting")


@dataclass(frozen=True)
class _TrialLedger:
    """A trial's word on how far it is, of a pod whose records are the worker's."""

    attempts: Attempts

    @property
    def usage(self) -> Usage:
        return self.attempts.usage

    def fence(self) -> None:
        self.attempts.fence()

    def resume_from(self, step: int) -> None:
        """The trial's own record tells."""

    def advance(self, _step: int, usage: Usage) -> None:
        self.attempts.advance(self.attempts.own.step, usage)

    def end(self, outcome: str, code: str | None, usage: Usage) -> None:
        self.attempts.end(outcome, code, usage)


class Worker:
    """`run`: of the whole search; `output`: its revision's folder."""

    def __init__(
        self, run: Run, attempts: Attempts, records: Records, output: ObjectStore, folder: Path
    ) -> None:
        assert run.examples
        assert run.spec.fine_tuning.search
        self.run = run
        self.attempts = attempts
        self.ledger = _TrialLedger(attempts)
        self.records = records
        self.output = output
        self.folder = folder
        self.examples: Examples = run.examples
        self.tuning: FineTuning = run.spec.fine_tuning
        self.search = run.spec.fine_tuning.search
        self.encodings: Encodings = {}

    def execute(self, base: BaseModel, model_folder: Path) -> RunResult:
        """Raises TrainerError, Interrupted or Superseded."""
        self.run.reporter.hold(*_HELD)
        while (record := self._next()) is not None:
            self._make(record, model_folder)
        best = self._to_publish()
        if best is None:
            log("nothing is left to do here: the last trials, and the result, are another pod's")
            self.attempts.end("Succeeded", None, self.run.pod.usage())
            self.run.reporter.close()
            return self.run.result("Succeeded")
        return self._publish(best, base, model_folder)

    def _next(self) -> Record | None:
        """The trial to be made now, which is this pod's; None where none is left."""
        while True:
            self.run.interrupt.check()
            records = self.records.read()
            self._tell(records)
            left = next((it for it in records if self.records.may_take(it)), None)
            if left is not None:
                if taken := self._take(left):
                    return taken
                continue
            self._check_failed(records)
            number = next(i for i in range(len(records) + 1) if i not in _numbers(records))
            if number >= trials_of(self.search) or standing.stopped(self.search, records):
                return None
            if self._is_closing():
                return None
            settings = settings_of(self.search, number, records)
            if claimed := self.records.claim(number, settings):
                if self._is_closing():  # decided without this one
                    self.records.drop(claimed)
                    return None
                return claimed

    def _take(self, left: Record) -> Record | None:
        """Go on with a trial that a pod left behind; None where it has killed too many."""
        steps = complete_steps(self._store_of(left.number))
        step = steps[-1] if steps else 0
        died = [it.step for it in left.takes if it.outcome is None][-_DEATHS:]
        taken = self.records.take(left, step)
        if taken is None:
            return None
        if left.held_by == self.records.holder and died == [step] * _DEATHS:
            remedy, _ = OUT_OF_MEMORY["FineTuneJob"]
            why = f"{_DEATHS} pods died of it at step {step}; if of want of memory: {remedy}"
            self._fail(taken, why)
            return None
        log(f"trial {left.number}: taken up again at step {step}")
        return taken

    def _make(self, record: Record, model_folder: Path) -> None:
        """Train it to its end, or to where it is pruned; what goes wrong costs itself alone."""
        number, began = record.number, time.monotonic()
        told = ", ".join(f"{path} {value}" for path, value in sorted(record.settings.items()))
        log(f"trial {number} of {trials_of(self.search)}: {told}")
        trial = _Trial(self, record)
        run = Run(self._spec_of(record), self.run.pod, self.examples)
        try:
            outcome = self._train(trial, run, model_folder)
        except (Interrupted, Superseded):
            run.save_what_waits()
            if not self.run.interrupt.superseded:
                self.records.release(trial.record)
            raise
        except Exception as error:
            failure = from_exception(error)
            if self._is_everyones(failure):
                raise
            if failure.exit_code == ExitCode.INTERNAL:
                log_traceback(error)
            self._fail(trial.record, f"{failure.error.code}: {failure.error.message}", began)
        else:
            self._end(trial, outcome, time.monotonic() - began)
        finally:
            if run.writer:
                run.writer.close()
            shutil.rmtree(self.folder / "trial", ignore_errors=True)
            del run
            _tidy()

    def _train(self, trial: "_Trial", run: Run, model_folder: Path) -> "Outcome":
        folder = self.folder / "trial"
        folder.mkdir(exist_ok=True)
        stages = Stages(
            run,
            self.ledger,
            self._store_of(trial.record.number),
            self.examples,
            folder,
            trial=Trying(self.search.objective.metric, trial.goes_on),
            encodings=self.encodings,
        )
        outcome = stages.train(model_folder)
        assert run.writer
        run.writer.drain(self.run.spec.storage.retry_seconds + 60)
        return outcome

    def _end(self, trial: "_Trial", outcome: "Outcome", seconds: float) -> None:
        """Note what came of it; of all trials that ended only the best keeps its checkpoints."""
        name = _measured(self.search.objective.metric)
        values = outcome.journal.series(f"eval_{name}")
        at = dict(zip(*values, strict=True))
        step = outcome.best_step if outcome.best_step in at else max(at, default=0)
        value = at.get(step)
        if value is None or not math.isfinite(value):
            self._fail(trial.record, f"{self.search.objective.metric} was no number at its end")
            return
        ended = self.records.end(
            trial.record,
            "Pruned" if trial.pruned else "Complete",
            step=outcome.step,
            value=value,
            seconds=round(trial.record.seconds + seconds, 1),
        )
        log(f"trial {ended.number}: {ended.state}, {name} {value:.4f} at step {step}")
        records = self.records.read()
        best = standing.best_of(self.search, records)
        self.records.prune(
            [
                it.number
                for it in (ended, *trial.best_before)
                if best is None or it.number != best.number
            ]
        )
        self._note_usage()

    def _fail(self, record: Record, why: str, began: float | None = None) -> None:
        log(f"trial {record.number}: failed: {why}")
        seconds = record.seconds + (time.monotonic() - began if began else 0)
        self.records.end(record, "Failed", error=why[:1000], seconds=round(seconds, 1))
        self.records.prune([record.number])
        self._note_usage()

    def _note_usage(self) -> None:
        self.attempts.advance(self.attempts.own.step + 1, self.run.pod.usage())
        self.attempts.read_beside()
        reporter = self.run.reporter
        reporter.set(usage=self.attempts.usage, restarts=self.attempts.restarts)

    def _check_failed(self, records: Sequence[Record]) -> None:
        """Raises TrainerError (TooManyFailedTrials)."""
        failed = standing.failed(records)
        if len(failed) <= self.search.max_failed_trials:
            return
        raise TrainerError(
            ExitCode.NOT_GOOD_ENOUGH,
            "TooManyFailedTrials",
            f"{len(failed)} trials failed, and search.maxFailedTrials is "
            f"{self.search.max_failed_trials}. The last one, {failed[-1].number}: "
            f"{failed[-1].error}. Search other values, or raise maxFailedTrials; `luthier retry` "
            "makes those that failed once more",
            "search",
        )

    def _is_everyones(self, failure: TrainerError) -> bool:
        """Whether every trial would fail so: by what no trial changes."""
        if failure.exit_code in _NOT_OF_A_TRIAL:
            return True
        param = failure.error.param or ""
        searched = {".".join(SEARCHABLE[path].place) for path in self.search.space}
        own = any(param == it or it.startswith(f"{param}.") for it in searched)
        diverged = failure.error.code in ("LossNotFinite", "GradientNotFinite")
        return failure.exit_code in _OF_THE_SPEC and not own and not diverged

    def _to_publish(self) -> Record | None:
        """The best trial, where this worker is the one that publishes it.

        Raises TrainerError (NoTrialSucceeded).
        """
        records = self.records.read()
        self._tell(records)
        if any(it.state == "Running" for it in records):
            return None
        best = standing.best_of(self.search, records)
        if best is None:
            failed = standing.failed(records)
            last = f"The last one: {failed[-1].error}" if failed else "All were pruned"
            raise TrainerError(
                ExitCode.NOT_GOOD_ENOUGH,
                "NoTrialSucceeded",
                f"none of {len(records)} trials came to its end. {last}. Search other values",
                "search.space",
            )
        if not self.records.close(best.number):
            return None
        if any(it.state == "Running" for it in self.records.read()):
            self.records.go_on()  # one had begun before this was decided: its worker goes on
            return None
        return best

    def _publish(self, best: Record, base: BaseModel, model_folder: Path) -> RunResult:
        """The best trial's weights, measured on test beside the base, as the run's result."""
        records = self.records.read()
        log(f"trial {best.number} is the best of {len(records)}: its weights are the result")
        self.records.prune([it.number for it in records if it.number != best.number])
        self.run.reporter.hold()
        tuned = applied(self.tuning, best.settings)
        spec = self.run.spec.model_copy(
            update={"fine_tuning": tuned.model_copy(update={"search": self.search})}
        )
        run = Run(spec, self.run.pod, self.examples)
        folder = self.folder / "result"
        folder.mkdir(exist_ok=True)
        stages = Stages(
            run,
            self.ledger,
            self._store_of(best.number),
            self.examples,
            folder,
            target=self.output,
            encodings=self.encodings,
        )
        trials = [standing.trial_of(self.tuning, it).to_json() for it in records]
        status = standing.status_of(self.tuning, records)
        report = stages.artifact / "report"
        report.mkdir(parents=True)
        name = f"{self.run.spec.run.namespace}/{self.run.spec.run.name}"
        (report / "search.html").write_text(search_page(name, self.tuning, records), "utf-8")
        (report / "search.json").write_text(json.dumps(trials, indent=2) + "\n", "utf-8")
        told = {
            "best": standing.trial_of(self.tuning, best).to_json(),
            "trials": len(records),
            "complete": status.complete,
            "pruned": status.pruned,
            "failed": status.failed,
        }
        return stages.execute(base, model_folder, {"search": told})

    def _tell(self, records: Sequence[Record]) -> None:
        status = standing.status_of(self.tuning, records)
        ended = [it for it in records if it.state != "Running"]
        left = status.trials - len(ended)
        eta = None
        if ended and not status.stopped:
            mean = sum(it.seconds for it in ended) / len(ended)
            eta = round(mean * left / workers_of(self.search), 1)
        self.run.reporter.keep(search=status, eta_seconds=eta)

    def _spec_of(self, record: Record) -> RunSpec:
        """The order of a trial: it is measured at each rung, or at its end."""
        tuning = applied(self.tuning, record.settings)
        training = tuning.training
        if training.eval_every_steps is None:
            every = self.search.prune.min_steps if self.search.prune else AT_THE_END
            training = training.model_copy(update={"eval_every_steps": every})
            tuning = tuning.model_copy(update={"training": training})
        return self.run.spec.model_copy(
            update={
                "fine_tuning": tuning,
                "output": join(self.run.spec.output, folder_of(record.number)),
                "checkpoints": Checkpoints(keep_last=1),
            }
        )

    def _store_of(self, number: int) -> ObjectStore:
        spec = self.run.spec
        return open_store(join(spec.output, folder_of(number)), spec.storage, "output.uri")

    def _is_closing(self) -> bool:
        closing, holder = self.records.closing(), self.records.holder
        return closing is not None and (closing.held_by.uid, closing.held_by.attempt) == (
            holder.uid,
            holder.attempt,
        )


class _Trial:
    """What a training is told while it is a trial: whether it goes on."""

    def __init__(self, worker: Worker, record: Record) -> None:
        self.record = record
        self.pruned = False
        self._worker = worker
        best = standing.best_of(worker.search, worker.records.read())
        self.best_before = [best] if best else []

    def goes_on(self, step: int, measured: Mapping[str, float]) -> bool:
        """Note an evaluation, and compare it at a rung."""
        search, records = self._worker.search, self._worker.records
        value = measured[_measured(search.objective.metric)]
        rung = asha.rung_at(search.prune, step, self.record.rungs) if search.prune else None
        if search.prune is None or rung is None:
            return True
        others = [it.rungs for it in records.read() if it.number != self.record.number]
        if math.isfinite(value):
            rungs = {**self.record.rungs, rung: value}
            self.record = records.write(self.record, step=step, value=value, rungs=rungs)
        maximize = search.objective.direction == "maximize"
        known = asha.at_rung(others, rung)
        self.pruned = not asha.goes_on(value, known, search.prune, maximize=maximize)
        if self.pruned:
            log(
                f"trial {self.record.number}: pruned at step {step}: not among the best "
                f"1/{search.prune.reduction} of {len(known) + 1}"
            )
        return not self.pruned


def _numbers(records: Sequence[Record]) -> set[int]:
    return {it.number for it in records}


def _measured(metric: str) -> str:
    """As an evaluation calls the objective (metrics.watched)."""
    name = metric.removeprefix("eval_")
    return "rougeL" if name == "rouge" else name


def _tidy() -> None:
    """Let go of what a training leaves in this process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
    if device.on_gpu():
        torch.cuda.empty_cache()
