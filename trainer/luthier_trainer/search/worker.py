"""A worker of a search: one trial after the other, and at the end the best one's artifact."""

from collections.abc import Sequence
from pathlib import Path

from luthier_api.result import ExitCode, RunResult
from luthier_api.searchspace import trials_of, workers_of
from luthier_trainer.errors import OUT_OF_MEMORY, TrainerError
from luthier_trainer.log import log
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.search import result, standing, trial
from luthier_trainer.search.records import Record
from luthier_trainer.search.shared import Shared
from luthier_trainer.search.strategies import settings_of
from luthier_trainer.training.checkpointfolder import complete_steps

# Pods that may die of a trial before it gets further.
_DEATHS = 2
# Of a report: what a single trial says of itself is no news of the run.
_HELD = ("eta_seconds", "checkpoints", "resumed_from_step", "estimate", "resolved", "overfitting")


class Worker:
    """Whoever comes and goes beside it: what is left to do stands in storage."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.search = shared.search
        self.records = shared.records

    def execute(self, base: BaseModel, model_folder: Path) -> RunResult:
        """Raises TrainerError, Interrupted or Superseded."""
        state = self.shared.state
        state.reporter.hold(*_HELD)
        while (record := self._next()) is not None:
            trial.make(self.shared, record, base, model_folder)
        best = self._to_publish()
        if best is not None:
            return result.publish(self.shared, best, base, model_folder)
        log("nothing is left to do here: the last trials, and the result, are another pod's")
        self.shared.attempts.end("Succeeded", None, state.pod.usage())
        state.reporter.close()
        return state.result("Succeeded")

    def _next(self) -> Record | None:
        """The trial to be made now, which is this pod's; None where none is left."""
        while True:
            self.shared.state.interrupt.check()
            records = self.records.read()
            self._tell(records)
            left = next((it for it in records if self.records.may_take(it)), None)
            if left is not None:
                if taken := self._take(left):
                    return taken
                continue
            self._check_failed(records)
            known = {it.number for it in records}
            number = next(it for it in range(len(known) + 1) if it not in known)
            if number >= trials_of(self.search) or standing.stopped(self.search, records):
                return None
            if self.records.is_closing():
                return None
            claimed = self.records.claim(number, settings_of(self.search, number, records))
            if claimed is None:
                continue
            if self.records.is_closing():  # decided without this one
                self.records.drop(claimed)
                return None
            return claimed

    def _take(self, left: Record) -> Record | None:
        """Go on with a trial that a pod left behind; None where it has killed too many."""
        steps = complete_steps(self.shared.store_of(left.number))
        step = steps[-1] if steps else 0
        died = [it.step for it in left.takes if it.outcome is None][-_DEATHS:]
        taken = self.records.take(left, step)
        if taken is None:
            return None
        if left.held_by == self.records.holder and died == [step] * _DEATHS:
            remedy, _ = OUT_OF_MEMORY["FineTuneJob"]
            why = f"{_DEATHS} pods died of it at step {step}; if of want of memory: {remedy}"
            trial.fail(self.shared, taken, why)
            return None
        log(f"trial {left.number}: taken up again at step {step}")
        return taken

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

    def _to_publish(self) -> Record | None:
        """The best trial, where this worker is the one that publishes it.

        Raises TrainerError (NoTrialSucceeded).
        """
        while True:
            records = self.records.read()
            self._tell(records)
            if _go_on(records):
                return None
            best = standing.best_of(self.search, records)
            if best is None:
                raise self._nothing_to_publish(records)
            if not self.records.close(best.number):
                return None
            if not _go_on(self.records.read()):
                return best
            # One was begun before this was decided. Its worker goes on with it, or has given it
            # up for this decision: then it is to be made again.
            self.records.go_on()

    def _nothing_to_publish(self, records: Sequence[Record]) -> TrainerError:
        failed = standing.failed(records)
        last = f"The last one: {failed[-1].error}" if failed else "All were pruned"
        return TrainerError(
            ExitCode.NOT_GOOD_ENOUGH,
            "NoTrialSucceeded",
            f"none of {len(records)} trials came to its end. {last}. Search other values",
            "search.space",
        )

    def _tell(self, records: Sequence[Record]) -> None:
        """The state of all trials, and when they will have ended."""
        status = standing.status_of(self.shared.tuning, records)
        ended = [it for it in records if it.state != "Running"]
        eta = None
        if ended and not status.stopped:
            mean = sum(it.seconds for it in ended) / len(ended)
            eta = round(mean * (status.trials - len(ended)) / workers_of(self.search), 1)
        self.shared.state.reporter.keep(search=status, eta_seconds=eta)


def _go_on(records: Sequence[Record]) -> bool:
    return any(it.state == "Running" for it in records)
