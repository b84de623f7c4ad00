"""What is known of a fine-tuning so far: what its end, in this pod, tells."""

from typing import TYPE_CHECKING

from luthier_api.finetunejob import EvaluationResult
from luthier_api.result import RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.data.examples import Examples
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.log import log
from luthier_trainer.pod.pod import Pod
from luthier_trainer.pod.usercode import has_code
from luthier_trainer.tracking.telling import Telling

if TYPE_CHECKING:
    from luthier_trainer.training.checkpointwriter import CheckpointWriter

# For the last checkpoint of a run that fails. Nobody kills its pod: what has to end is only an
# upload that never does. Storage's own retries (minutes) end earlier.
_SAVE_SECONDS = 900


class State:
    """Of one run, or of a trial of a search. Each stage leaves here what it learnt."""

    def __init__(
        self,
        spec: RunSpec,
        pod: Pod,
        examples: Examples | None = None,
        telling: Telling | None = None,
    ) -> None:
        """`examples`, `telling`: of a run that is part of another's."""
        self.spec = spec
        self.pod = pod
        self.interrupt, self.reporter = pod.interrupt, pod.reporter
        self.examples = examples
        self.telling = telling or Telling(spec, pod)
        self.data_valid: bool | None = True if examples else None
        self.writer: CheckpointWriter | None = None
        self.evaluation: EvaluationResult | None = None
        self.newest_revision: int | None = None

    def result(self, outcome: str, failure: TrainerError | None = None) -> RunResult:
        """What is known now, as the end of this pod."""
        report = self.reporter.report
        return RunResult(
            **self.pod.end(outcome, failure),
            dataset_digest=self.examples.digest if self.examples else None,
            dataset_valid=self.data_valid,
            dataset_summary=self.data_summary(),
            dataset=report.dataset,
            estimate=report.estimate,
            resolved=report.resolved,
            overfitting=report.overfitting,
            inexact_resume=report.inexact_resume,
            progress=report.progress,
            checkpoints=self.writer.refs if self.writer else [],
            evaluation=self.evaluation,
            search=report.search,
            tracking=self.telling.runs,
            custom_code=has_code(self.spec),
            newest_revision=self.newest_revision,
        )

    def data_summary(self) -> str | None:
        if self.examples is None:
            return None
        return "; ".join([self.examples.summary, *self.examples.warnings])[:200]

    def refuse_data(self) -> None:
        """Say that the data is at fault for the end of this run."""
        self.data_valid = False
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
