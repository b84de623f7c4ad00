"""A run that fine-tunes: the stages up to the import of torch, and what is told at its end."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from luthier_api import sources
from luthier_api.finetunejob import EvaluationResult
from luthier_api.result import ExitCode, RunResult
from luthier_api.revision import revision_number
from luthier_api.runspec import InUseOrder, RunSpec
from luthier_trainer.data import prepare as data
from luthier_trainer.data import record
from luthier_trainer.data.examples import Examples
from luthier_trainer.distributed.place import place_of
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.finetune.agreement import agreement
from luthier_trainer.finetune.startfrom import find_start
from luthier_trainer.log import log
from luthier_trainer.models import cache as modelcache
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.models.files import check_files
from luthier_trainer.pod.claim import (
    REVISION_TAKEN,
    Start,
    base_changed,
    read_claim,
    revision_taken,
)
from luthier_trainer.pod.finished import Found, finished, found_again
from luthier_trainer.pod.inuse import IN_USE, write_in_use
from luthier_trainer.pod.pod import Pod
from luthier_trainer.pod.revisions import beside, newest_first
from luthier_trainer.pod.usercode import has_code
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store
from luthier_trainer.training.checkpointfolder import complete_steps

if TYPE_CHECKING:
    from luthier_trainer.training.checkpointwriter import CheckpointWriter

# For the last checkpoint of a run that fails. Nobody kills its pod: what has to end is only an
# upload that never does. Storage's own retries (minutes) end earlier.
_SAVE_SECONDS = 900


class Run:
    """The state of this pod's run. `execute` does it; `result` tells how far it came."""

    def __init__(
        self, spec: RunSpec, pod: Pod | None = None, examples: Examples | None = None
    ) -> None:
        """`pod`, `examples`: of a run that is part of another's."""
        self.spec = spec
        self.pod = pod or Pod(spec)
        self.interrupt, self.reporter = self.pod.interrupt, self.pod.reporter
        self.examples = examples
        self.writer: CheckpointWriter | None = None
        self.evaluation: EvaluationResult | None = None
        self._data_valid: bool | None = True if examples else None
        self._newest_revision: int | None = None

    def execute(self) -> RunResult:
        """All stages. Raises TrainerError, Interrupted or Superseded."""
        with self.pod.scratch() as folder:
            try:
                result = self._stages(folder)
            except (Exception, Interrupted) as error:  # not Superseded: it is another pod's output
                self.save_what_waits()  # before the folder goes: checkpoints are written through it
                self._look_for_a_free_revision(error)
                raise
        self._tell_in_use(result)
        return result

    def result(self, outcome: str, failure: TrainerError | None = None) -> RunResult:
        """What is known now, as the end of this pod."""
        told = self.reporter.report
        return RunResult(
            **self.pod.end(outcome, failure),
            dataset_digest=self.examples.digest if self.examples else None,
            dataset_valid=self._data_valid,
            dataset_summary=self.data_summary(),
            dataset=told.dataset,
            estimate=told.estimate,
            resolved=told.resolved,
            overfitting=told.overfitting,
            inexact_resume=told.inexact_resume,
            progress=told.progress,
            checkpoints=self.writer.refs if self.writer else [],
            evaluation=self.evaluation,
            search=told.search,
            custom_code=has_code(self.spec),
            newest_revision=self._newest_revision,
        )

    def refuse_data(self) -> None:
        """Say that the data is at fault for the end of this run."""
        self._data_valid = False
        self.reporter.set(dataset_valid=False)

    def save_what_waits(self) -> None:
        """Upload a checkpoint that still waits: within the rest of the grace period if SIGTERM
        came, or comes meanwhile. Raises Superseded."""
        if self.interrupt.superseded:
            return
        stopped = self.interrupt.requested
        try:
            self._drain(self.interrupt.seconds_left() if stopped else _SAVE_SECONDS)
        except Interrupted:
            self._drain(self.interrupt.seconds_left())

    def _drain(self, seconds: float) -> None:
        try:
            if self.writer and not self.writer.drain(seconds):
                log(f"warning: {seconds:.1f} s weren't enough to upload the last checkpoint")
        except Exception as failure:  # the run goes on from an older one
            log(f"warning: the last checkpoint is not saved: {failure}")

    def data_summary(self) -> str | None:
        if self.examples is None:
            return None
        return "; ".join([self.examples.summary, *self.examples.warnings])[:200]

    def _stages(self, folder: Path) -> RunResult:
        self.reporter.stage("Preflight")
        output = open_store(self.spec.output, self.spec.storage, "output.uri")
        if found := finished(output, self.spec):
            return self.pod.again(RunResult, *found)
        base = self.find_base(output)
        examples = self.check_data(folder)
        made_from = (examples.digest, modelcache.identity(base), find_start(self.spec))
        if found := self.found(output, *made_from):
            return self.pod.again(RunResult, *found)
        return self._work(output, base, examples, folder, made_from[2])

    def _work(
        self,
        output: ObjectStore,
        base: BaseModel,
        examples: Examples,
        folder: Path,
        start: Start | None,
    ) -> RunResult:
        """What costs: everything is there that it is made from."""
        attempts = self.pod.claim(output, examples.digest, modelcache.identity(base), start)
        record.leave(output, examples)
        steps = complete_steps(output)
        self.pod.begin(steps[-1] if steps else 0)
        model_folder = self.load_base(base)
        # Only now: the import of torch and transformers takes seconds.
        from luthier_trainer.distributed.world import meet
        from luthier_trainer.finetune.stages import Stages

        world = meet(place_of(self.spec), self.interrupt.check)
        world.share(agreement(self, base, examples))
        stages = Stages(self, attempts, output, examples, folder, world=world)
        return stages.execute(base, model_folder)

    def found(
        self, output: ObjectStore, digest: str, base: str | None, start: Start | None
    ) -> Found | None:
        """What makes this run needless: the result of the same, of this revision or an earlier."""
        if found := finished(output, self.spec, digest, base, start):
            return found
        return found_again(self.spec, digest, base, start) if self._may_be_found() else None

    def _may_be_found(self) -> bool:
        """Whether an earlier revision's result is as good as one of this run. What stands in a
        ConfigMap shapes a result, and isn't in the hash of its revision."""
        tuning = self.spec.fine_tuning
        return not (self.spec.anew or any(sources.code(tuning)) or any(sources.texts(tuning)))

    def _look_for_a_free_revision(self, error: BaseException) -> None:
        """The operator opens one where this one is another's."""
        if not isinstance(error, TrainerError) or error.error.code != REVISION_TAKEN:
            return
        if folder := beside(self.spec):
            names = newest_first(folder.folders())
            self._newest_revision = revision_number(names[0]) if names else None

    def _tell_in_use(self, result: RunResult) -> None:
        """Let in-use.json name the result, where it comes into use whatever it is.

        IfBetter and Manual are the operator's to judge, which sends an errand then (errands/keep).
        The result stands without it: a failure is told, and nothing more.
        """
        folder = beside(self.spec) if self.spec.comes_into_use == "Always" else None
        if folder is None or result.artifact is None:
            return
        wanted = InUseOrder(
            revision=self.spec.run.revision,
            uri=result.artifact.uri,
            manifest_sha256=result.artifact.manifest_sha256,
            since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            metrics=result.evaluation.tuned if result.evaluation else {},
        )
        try:
            write_in_use(folder, wanted)
        except Exception as error:
            log(f"warning: {folder.uri}/{IN_USE} doesn't name this result: {error}")

    def load_base(self, base: BaseModel) -> Path:
        """The base model's folder on this machine, which fits."""
        self.reporter.stage("Loading")
        model_folder = modelcache.local_folder(base, self.spec)
        check_files(model_folder, self.spec.fine_tuning.method)
        return model_folder

    def find_base(self, output: ObjectStore) -> BaseModel:
        """Of a hub at the commit with which this output was begun: a branch moves."""
        claim = read_claim(output)
        began = claim.base if claim else None
        commit = modelcache.commit_of(began) if began else None
        try:
            return modelcache.find(self.spec, commit)
        except TrainerError as failure:
            if commit and failure.error.code == "RevisionNotFound":
                if claim and claim.uid != self.spec.run.uid:
                    raise revision_taken(output) from failure
                uri = self.spec.fine_tuning.model.uri
                raise base_changed(f"{uri}: the hub no longer has it", began) from failure
            raise

    def check_data(self, folder: Path) -> Examples:
        try:
            examples = data.load(self.spec, folder / "data")
        except TrainerError as failure:
            # Access that is denied or down says nothing about the data.
            if failure.exit_code in (ExitCode.DATA, ExitCode.NOT_FOUND):
                self.refuse_data()
            raise
        self.examples, self._data_valid = examples, True
        log(f"data: {examples.summary}, {examples.digest}")
        for warning in examples.warnings:
            log(f"warning: data: {warning}")
        self.reporter.set(
            dataset_valid=True,
            dataset=examples.facts,
            dataset_digest=examples.digest,
            dataset_summary=self.data_summary(),
        )
        return examples
