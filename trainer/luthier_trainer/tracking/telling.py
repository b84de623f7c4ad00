"""What a run tells its trackers, if it has any."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from luthier_api.finetunejob import EvaluationResult
from luthier_api.runspec import RunSpec
from luthier_api.runstatus import ArtifactRef
from luthier_api.tracking import TrackedRun
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.pod.claim import Start
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.tracking.about import about, lineage
from luthier_trainer.tracking.delivery import Delivery
from luthier_trainer.tracking.mlflow import MlflowRun
from luthier_trainer.tracking.points import results_of
from luthier_trainer.tracking.tracker import About, Known, Outcome, Tracker
from luthier_trainer.tracking.wandb import WandbRun
from luthier_trainer.training.journal import Journal

# Where what isn't sent lies, for `wandb sync`.
WANDB_FOLDER = "report/wandb"
# How long the end of a run waits for its trackers: a pod that has to go has other things to do.
_LOOK_SECONDS = 0.2
_SECONDS: dict[Outcome, float] = {"Finished": 30.0, "Failed": 15.0, "Interrupted": 3.0}


class Telling:
    """Does nothing before `begin`, and never raises what a tracker's failure is.

    `trial`: the number of a search's, whose run it is; it says nothing of the whole.
    """

    def __init__(self, spec: RunSpec, pod: Pod, trial: int | None = None) -> None:
        self._spec, self._pod, self._trial = spec, pod, trial
        self._known = Known()
        self._deliveries: list[Delivery] = []
        self._ending: list[Delivery] = []
        self._runs: dict[str, TrackedRun] = {}
        self._trials: list[Telling] = []

    @property
    def runs(self) -> list[TrackedRun]:
        """The run, as each tracker has it."""
        return [self._runs[name] for name in sorted(self._runs)]

    def of_trial(self, spec: RunSpec, number: int) -> "Telling":
        """What one of its trials tells, as a run of its own."""
        trial = Telling(spec, self._pod, number)
        self._trials.append(trial)
        return trial

    def begin(
        self,
        output: ObjectStore,
        folder: Path,
        dataset_digest: str,
        base: BaseModel,
        start: Start | None,
    ) -> None:
        """The run goes to work, or on with it. `folder`: scratch space."""
        if self._spec.tracking is None or self._deliveries:
            return
        self._known = Known(facts=lineage(self._spec, dataset_digest, base, start))
        of_it = about(self._spec, self._pod.began, self._trial)
        self._deliveries = [
            Delivery(tracker, of_it.began, self._known, self._changed, quiet=self._is_trial)
            for tracker in _trackers(self._spec, of_it, output, folder)
        ]

    def follow(self, journal: Journal) -> None:
        """What is measured while training."""
        for each in self._deliveries:
            each.follow(journal.entries)

    def resolved(self, notes: Mapping[str, str]) -> None:
        """What `auto` came to."""
        self._know(replace(self._known, resolved=notes))

    def measured(self, evaluation: EvaluationResult) -> None:
        """Base and tuned model at the end."""
        self._know(replace(self._known, results=results_of(evaluation)))

    def know(self, **facts: str) -> None:
        """More of what it is, or came to."""
        self._know(replace(self._known, facts={**self._known.facts, **facts}))

    def end(self, outcome: Outcome, artifact: ArtifactRef | None = None) -> None:
        """Tell it, in a short time; of a trial, beside what comes next."""
        if artifact:
            digest = artifact.manifest_sha256
            self.know(**{"artifact.uri": artifact.uri, "artifact.manifestSha256": digest})
        self._known = replace(self._known, end=outcome)
        seconds = min(_SECONDS[outcome], self._pod.interrupt.seconds_left())
        for each in self._deliveries:
            each.end(self._known, seconds)
        self._ending, self._deliveries = self._deliveries, []
        if not self._is_trial:
            self._wait(time.monotonic() + seconds)

    def _wait(self, until: float) -> None:
        """For the trials, too. A signal that comes meanwhile ends the waiting, and nothing that is
        done already."""
        interrupt = self._pod.interrupt
        stopped = interrupt.requested
        waited = [*self._ending, *(each for trial in self._trials for each in trial._ending)]
        with interrupt.deferred():
            while waited and time.monotonic() < until and interrupt.requested == stopped:
                waited = [each for each in waited if not each.is_done(_LOOK_SECONDS)]

    @property
    def _is_trial(self) -> bool:
        return self._trial is not None

    def _know(self, known: Known) -> None:
        self._known = known
        for each in self._deliveries:
            each.know(known)

    def _changed(self, run: TrackedRun) -> None:
        self._runs = {**self._runs, run.tracker: run}
        if not self._is_trial:
            self._pod.reporter.set(tracking=self.runs)


def _trackers(spec: RunSpec, of_it: About, output: ObjectStore, folder: Path) -> list[Tracker]:
    def keep(path: Path) -> None:
        output.upload(f"{WANDB_FOLDER}/{path.name}", path)

    assert spec.tracking
    found: list[Tracker] = []
    if spec.tracking.mlflow:
        found.append(MlflowRun(spec.tracking.mlflow, of_it))
    if spec.tracking.wandb:
        found.append(WandbRun(spec.tracking.wandb, of_it, folder, keep))
    return found
