"""What is known of a run's inside: from the status so far, reports and results. Pure."""

from dataclasses import dataclass, field, replace
from itertools import islice

from luthier_api.finetunejob import (
    CheckpointRef,
    DatasetFacts,
    Estimate,
    EvaluationResult,
    FineTuneJobStatus,
    Progress,
)
from luthier_api.progress import ProgressReport
from luthier_api.result import RunError, RunResult
from luthier_api.runstatus import ArtifactRef, Restarts, Usage
from luthier_api.search import SearchStatus
from luthier_api.tracking import TrackedRun
from luthier_operator.conditions import find, shortened
from luthier_operator.run.evidence import restarted, statements, used
from luthier_operator.run.model import Pod, Revision

# Conditions that say what the trainer noticed.
OVERFITTING = "Overfitting"
RESUME_EXACT = "ResumeExact"
# The bounds of status.checkpoints and status.resolved.
CHECKPOINTS = 100
RESOLVED = 32
RESOLVED_NAME_LENGTH = 64
RESOLVED_LENGTH = 1024


@dataclass(frozen=True)
class Evidence:
    """The newest of each."""

    progress: Progress | None = None
    checkpoints: tuple[CheckpointRef, ...] = ()
    evaluation: EvaluationResult | None = None
    artifact: ArtifactRef | None = None
    usage: Usage | None = None
    restarts: Restarts | None = None
    dataset_digest: str | None = None
    dataset_valid: bool | None = None
    dataset_summary: str | None = None
    dataset: DatasetFacts | None = None
    estimate: Estimate | None = None
    resolved: dict[str, str] = field(default_factory=dict)
    overfitting: str | None = None  # the last word on it
    inexact_resume: str | None = None
    error: RunError | None = None
    search: SearchStatus | None = None
    tracking: tuple[TrackedRun, ...] = ()
    custom_code: bool = False
    succeeded: bool = False  # the newest pod's result says so

    def after(self, newer: ProgressReport | RunResult) -> "Evidence":
        """This, overlaid with what the newer one knows."""
        known = {
            name: value
            for name in (
                "progress",
                "evaluation",
                "dataset_digest",
                "dataset_valid",
                "dataset_summary",
                "dataset",
                "estimate",
                # Once resumed inexactly, a run stays so.
                "inexact_resume",
            )
            if (value := getattr(newer, name)) is not None
        }
        merged = replace(
            self,
            **known,
            usage=used(self.usage, newer.usage),
            restarts=restarted(self.restarts, newer.restarts),
            overfitting=newer.overfitting,
        )
        if newer.search is not None:
            merged = replace(merged, search=_with_table(newer.search, self.search))
        if newer.tracking:
            # Once each: twice would make the status unwritable.
            merged = replace(
                merged, tracking=tuple({i.tracker: i for i in newer.tracking}.values())
            )
        if newer.resolved:
            merged = replace(merged, resolved=_bounded(newer.resolved))
        if newer.checkpoints:
            merged = replace(merged, checkpoints=tuple(newer.checkpoints[-CHECKPOINTS:]))
        if isinstance(newer, RunResult):
            return replace(
                merged,
                progress=_without_times(newer.progress, self.progress),
                artifact=newer.artifact or self.artifact,
                custom_code=self.custom_code or newer.custom_code,
                error=newer.error,
                succeeded=newer.outcome == "Succeeded",
            )
        return replace(merged, error=None, succeeded=False)


def gather(
    previous: FineTuneJobStatus,
    revision: Revision,
    report: ProgressReport | None,
    pods: list[Pod],
    output: str,
) -> Evidence:
    """`pods` are the Job's, oldest first; a pod's report comes before its result. `output`: the
    only folder that an artifact may be in.
    """
    evidence = Evidence()
    # After a restart of the operator the status is all that is left of earlier reports.
    if previous.revision == revision.name:
        evidence = Evidence(
            progress=previous.progress,
            checkpoints=tuple(previous.checkpoints),
            evaluation=previous.evaluation,
            artifact=previous.artifact,
            search=previous.search,
            tracking=tuple(previous.tracking),
            custom_code=bool(previous.custom_code),
            usage=previous.usage,
            restarts=previous.restarts,
            dataset_digest=previous.dataset_digest,
            dataset=previous.dataset,
            estimate=previous.estimate,
            resolved=previous.resolved,
            overfitting=_message(previous, OVERFITTING),
            inexact_resume=_message(previous, RESUME_EXACT),
        )
    for newer in statements(revision, report, pods, RunResult, output):
        evidence = evidence.after(newer)
    return evidence


def _with_table(newer: SearchStatus, before: SearchStatus | None) -> SearchStatus:
    """A result has no room for single trials: those that were reported stand."""
    if newer.table or before is None:
        return newer
    return newer.model_copy(update={"table": before.table, "best": newer.best or before.best})


def _without_times(told: Progress | None, before: Progress | None) -> Progress | None:
    """A result's times are by the clock of its node, a report's by ours: the last one's stands."""
    if told is None:
        return before
    updated = before.updated if before else None
    return told.model_copy(update={"updated": updated, "estimated_finish": None, "eta": None})


def _message(previous: FineTuneJobStatus, kind: str) -> str | None:
    """What the trainer said before: a condition's message is all that is left of it."""
    condition = find(previous.conditions, kind)
    return condition.message if condition else None


def _bounded(resolved: dict[str, str]) -> dict[str, str]:
    """No more than a status holds: a report is the trainer's word, and mustn't block the rest."""
    named = (it for it in resolved.items() if len(it[0]) <= RESOLVED_NAME_LENGTH)
    held = islice(named, RESOLVED)
    return {name: shortened(value, RESOLVED_LENGTH) for name, value in held}
