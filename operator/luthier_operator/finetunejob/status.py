"""Observed and Plan → Status. Pure; computed anew every time.

Read back from the status so far are only the times of transitions, the end of an
attempt (its children may be gone), and what the trainer told before.
"""

from luthier_api.finetunejob import FineTuneJobStatus, Progress, RevisionRecord
from luthier_api.meta import Condition
from luthier_api.result import TERMINAL_EXIT_CODES, ExitCode
from luthier_operator.conditions import Conditions, find, is_true, reason_or, timestamp
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob import failure, scheduling
from luthier_operator.finetunejob.decide import Plan
from luthier_operator.finetunejob.evidence import (
    OVERFITTING,
    RESUME_EXACT,
    Evidence,
    gather,
)
from luthier_operator.finetunejob.observe import Job, JobEnd, Observed, Pod

HISTORY = 10


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> FineTuneJobStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    previous = observed.previous
    conditions = Conditions(previous.conditions, observed.generation, observed.now)
    if plan.revision is None:
        assert plan.hold is not None
        return _unreadable(observed, conditions, plan.hold)
    if plan.ended:
        return _on_record(observed, plan, conditions)

    revision, job = plan.revision, plan.job
    pods = [pod for pod in observed.pods if job is not None and pod.job_uid == job.uid]
    evidence = gather(previous, revision, observed.report, pods)
    same_revision = previous.revision == revision.name
    same_attempt = same_revision and previous.attempt == revision.attempt
    started = min((pod.started for pod in pods if pod.started), default=None)
    base = FineTuneJobStatus(
        observed_generation=observed.generation,
        revision=revision.name,
        attempt=revision.attempt,
        retry_token=plan.retry_token,
        job_name=_job_name(plan, refused),
        start_time=(previous.start_time if same_attempt else None) or started,
        progress=_progress(evidence.progress, going=_goes_on(job, pods)),
        checkpoints=list(evidence.checkpoints),
        dataset_digest=evidence.dataset_digest,
        dataset=evidence.dataset,
        estimate=evidence.estimate,
        resolved=evidence.resolved,
        evaluation=evidence.evaluation,
        artifact=evidence.artifact,
        usage=evidence.usage,
        restarts=evidence.restarts,
        history=previous.history if same_revision else _history(observed),
    )
    if job is not None and job.end is not None:
        completion, phase = job.end.time, _ended(observed, conditions, job.end, pods, evidence)
    else:
        completion, phase = None, _going_on(observed, plan, conditions, pods, evidence, refused)
    return base.model_copy(
        update={
            "completion_time": completion,
            "phase": phase,
            "conditions": _ordered(conditions.list()),
        }
    )


def _job_name(plan: Plan, refused: Refusal | None) -> str | None:
    if plan.job is not None:
        return plan.job.name
    created = bool(plan.create) and refused is None
    return str(plan.create[-1]["metadata"]["name"]) if created else None


def _ended(
    observed: Observed, conditions: Conditions, end: JobEnd, pods: list[Pod], evidence: Evidence
) -> str:
    assert observed.spec is not None
    _common(conditions, evidence)
    complete = end.complete and evidence.artifact is not None
    if complete:
        reason, message = "Completed", "The result is published."
        conditions.set("Complete", True, reason, message)
        conditions.set("Ready", True, "Published", f"{evidence.artifact.uri}")  # type: ignore[union-attr]
        conditions.set("Stalled", False, reason)
    else:
        reason, message = (
            ("ResultLost", _RESULT_LOST)
            if end.complete
            else failure.explain(end, pods, observed.spec)
        )
        conditions.set("Failed", True, reason, message)
        conditions.set("Ready", False, reason, message)
        conditions.set("Stalled", True, reason, message)
    conditions.set("Running", False, "Finished")
    conditions.keep("Scheduled")
    if pods:
        _dataset(conditions, evidence, last=pods[-1])
    else:
        conditions.keep("DatasetValid")
    return "Complete" if complete else "Failed"


_RESULT_LOST = (
    "The Job completed, but its pod was removed before its result was read. Run `luthier retry`: "
    "the finished artifact is found again, without training."
)


def _going_on(
    observed: Observed,
    plan: Plan,
    conditions: Conditions,
    pods: list[Pod],
    evidence: Evidence,
    refused: Refusal | None,
) -> str:
    assert observed.spec is not None
    _common(conditions, evidence)
    hold, job = refused or plan.hold, plan.job
    alive = [pod for pod in pods if pod.alive]
    running = any(pod.running and not pod.deleting for pod in pods)
    _suspended(observed, conditions, job, pods)
    if hold is not None:
        conditions.set("Scheduled", False, hold.reason, hold.message)
    elif job is not None:
        place = scheduling.explain(observed, job, alive[-1] if alive else None)
        conditions.set("Scheduled", place.scheduled, place.reason, place.message)
    else:
        waiting = scheduling.WAITING
        conditions.set("Scheduled", waiting.scheduled, waiting.reason, waiting.message)
    phase = _phase(observed, job, hold, pods, running)
    conditions.set("Running", running, "TrainerRunning" if running else phase)
    last = next((pod for pod in reversed(pods) if not pod.alive), None)
    _dataset(conditions, evidence, last=None if running else last)

    stalled = hold is not None and hold.terminal
    if hold is not None and stalled:
        conditions.set("Ready", False, hold.reason, hold.message)
        conditions.set("Stalled", True, hold.reason, hold.message)
    else:
        conditions.set("Ready", False, phase, "The result isn't published yet.")
        conditions.set("Stalled", False, "Progressing")
    return phase


def _phase(
    observed: Observed, job: Job | None, hold: Refusal | None, pods: list[Pod], running: bool
) -> str:
    assert observed.spec is not None
    if hold is not None and hold.terminal:
        return "Stalled"
    if running:
        return "Running"
    if observed.spec.suspend:
        return "Suspended"
    if job is not None and job.queue is not None and job.suspended:
        return "Queued"
    last = pods[-1] if pods else None
    if last is not None and last.exit_code in (ExitCode.SUCCEEDED, *TERMINAL_EXIT_CODES):
        return "Finishing"  # the Job's end comes a moment after its pod's
    ended = any(not pod.alive or pod.exit_code is not None for pod in pods)
    return "Restarting" if ended else "Pending"


def _suspended(
    observed: Observed, conditions: Conditions, job: Job | None, pods: list[Pod]
) -> None:
    assert observed.spec is not None
    if observed.spec.suspend:
        stopped = not any(pod.alive for pod in pods) and (job is None or job.suspended)
        if job is not None and job.queue is not None and not job.suspended:
            # Its Job's `suspend` is Kueue's: said plainly instead of ignored.
            conditions.set("Suspended", False, "SuspendedByQueueOnly", _BY_QUEUE)
        elif stopped:
            conditions.set("Suspended", True, "Suspended", "spec.suspend is true.")
        else:
            conditions.set("Suspended", False, "Suspending", "The pod saves a checkpoint and ends.")
    elif find(observed.previous.conditions, "Suspended"):
        conditions.set("Suspended", False, "Resumed")


_BY_QUEUE = (
    "Kueue admitted this run, and this version doesn't take it back yet: set spec.active of the "
    "Job's Workload to false, or delete the resource."
)


def _common(conditions: Conditions, evidence: Evidence) -> None:
    if evidence.checkpoints:
        last = evidence.checkpoints[-1]
        conditions.set("CheckpointSaved", True, "Saved", f"Step {last.step}: {last.uri}")
    if evidence.evaluation is not None and evidence.evaluation.tuned:
        split = evidence.evaluation.split or "eval"
        conditions.set("Evaluated", True, "Evaluated", f"Base and tuned model on {split}.")
    if evidence.overfitting:
        conditions.set(OVERFITTING, True, "LearnsByHeart", evidence.overfitting)
    if evidence.inexact_resume:
        conditions.set(RESUME_EXACT, False, "NotReproducible", evidence.inexact_resume)


def _dataset(conditions: Conditions, evidence: Evidence, last: Pod | None) -> None:
    """`last`: the pod that has ended, where its error is the state of things."""
    error = evidence.error if last is not None else None
    invalid = evidence.dataset_valid is False or (last and last.exit_code == ExitCode.DATA)
    if invalid:
        message = error.message if error else evidence.dataset_summary or ""
        if error and error.param:
            message = f"{error.param}: {message}"
        reason = reason_or(error.code, "Invalid") if error else "Invalid"
        conditions.set("DatasetValid", False, reason, message)
    elif evidence.dataset_valid:
        conditions.set("DatasetValid", True, "Valid", evidence.dataset_summary or "")
    else:
        conditions.keep("DatasetValid")


def _on_record(observed: Observed, plan: Plan, conditions: Conditions) -> FineTuneJobStatus:
    """The end stands; only what is about this generation moves on."""
    previous = observed.previous
    for condition in previous.conditions:
        if condition.type != "Suspended":
            conditions.keep(condition.type)
    return previous.model_copy(
        update={
            "observed_generation": observed.generation,
            "retry_token": plan.retry_token,
            "conditions": _ordered(conditions.list()),
            "phase": "Complete" if is_true(previous.conditions, "Complete") else "Failed",
        }
    )


def _unreadable(observed: Observed, conditions: Conditions, hold: Refusal) -> FineTuneJobStatus:
    for kind in ("Complete", "Failed"):
        conditions.keep(kind)
    conditions.set("Ready", False, hold.reason, hold.message)
    conditions.set("Stalled", True, hold.reason, hold.message)
    return observed.previous.model_copy(
        update={
            "observed_generation": observed.generation,
            "conditions": _ordered(conditions.list()),
            "phase": "Stalled",
        }
    )


def _history(observed: Observed) -> list[RevisionRecord]:
    previous = observed.previous
    if previous.revision is None:
        return previous.history
    complete = is_true(previous.conditions, "Complete")
    failed = is_true(previous.conditions, "Failed")
    record = RevisionRecord(
        revision=previous.revision,
        attempt=previous.attempt or 1,
        outcome="Complete" if complete else "Failed" if failed else "Superseded",
        finished=previous.completion_time or timestamp(observed.now),
        artifact_uri=previous.artifact.uri if previous.artifact else None,
    )
    return [record, *previous.history][:HISTORY]


def _goes_on(job: Job | None, pods: list[Pod]) -> bool:
    return job is not None and job.end is None and any(pod.alive for pod in pods)


def _progress(progress: Progress | None, *, going: bool) -> Progress | None:
    if progress is None:
        return None
    # Columns show them to people; /metrics has every digit.
    changes: dict[str, str | float | None] = {
        name: round(value, 4)
        for name in ("loss", "eval_loss", "epoch")
        if (value := getattr(progress, name)) is not None
    }
    if progress.total_steps:
        changes["percent"] = f"{min(100, 100 * progress.step // progress.total_steps)}%"
    if not going:
        changes |= {"eta": None, "estimated_finish": None}
    return progress.model_copy(update=changes)


_ORDER = (
    "Ready",
    "Stalled",
    "Suspended",
    "Complete",
    "Failed",
    "Scheduled",
    "DatasetValid",
    "Running",
    "CheckpointSaved",
    "Evaluated",
    OVERFITTING,
    RESUME_EXACT,
)


def _ordered(conditions: list[Condition]) -> list[Condition]:
    return sorted(conditions, key=lambda condition: _ORDER.index(condition.type))
