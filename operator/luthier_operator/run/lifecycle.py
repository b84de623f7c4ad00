"""The part of the status that the runs of all kinds share: conditions, phase, times. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier_api.meta import Condition
from luthier_api.result import TERMINAL_EXIT_CODES, ExitCode, RunEnd
from luthier_api.runstatus import RevisionRecord
from luthier_operator.conditions import Conditions, find, is_true, timestamp
from luthier_operator.errors import Refusal
from luthier_operator.run import failure, scheduling
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import AnyObserved, Job, JobEnd, Pod
from luthier_operator.run.words import Words

HISTORY = 10
# The conditions that every kind has, in their order but for `Running`.
SHARED = ("Ready", "Stalled", "Suspended", "Complete", "Failed", "Scheduled")


@dataclass(frozen=True)
class Moment:
    """A run that has no end on record, as it is now."""

    observed: AnyObserved
    plan: Plan
    refused: Refusal | None  # the API server didn't take what the plan creates
    pods: list[Pod]  # the Job's, oldest first

    @property
    def job(self) -> Job | None:
        """Its Job."""
        return self.plan.job

    @property
    def end(self) -> JobEnd | None:
        """How its Job ended."""
        return self.plan.job.end if self.plan.job is not None else None

    @property
    def running(self) -> bool:
        """Whether the trainer runs."""
        return any(pod.running and not pod.deleting for pod in self.pods)


def begin(observed: AnyObserved, plan: Plan, refused: Refusal | None) -> Moment:
    """What the functions below look at."""
    return Moment(observed, plan, refused, observed.pods_of(plan.job))


def fields(moment: Moment, history: Sequence[RevisionRecord]) -> dict[str, Any]:
    """The fields of RunStatus but for phase, conditions, usage and restarts."""
    observed, plan, previous = moment.observed, moment.plan, moment.observed.previous
    revision = plan.revision
    same_attempt = revision is not None and (previous.revision, previous.attempt) == (
        revision.name,
        revision.attempt,
    )
    started = min((pod.started for pod in moment.pods if pod.started), default=None)
    return {
        "observed_generation": observed.generation,
        "revision": revision.name if revision else None,
        "attempt": revision.attempt if revision else None,
        "retry_token": plan.retry_token,
        "job_name": _job_name(plan, moment.refused),
        "start_time": (previous.start_time if same_attempt else None) or started,
        "completion_time": moment.end.time if moment.end else None,
        "history": list(history),
    }


def history(moment: Moment, artifact_uri: str | None) -> list[RevisionRecord]:
    """Earlier revisions, newest first, with the last one if another takes its place.

    `artifact_uri` is what the last one published. The caller sees to HISTORY.
    """
    observed, previous = moment.observed, moment.observed.previous
    revision = moment.plan.revision
    same = previous.revision == (revision.name if revision else None)
    if same or previous.revision is None:
        return previous.history
    complete = is_true(previous.conditions, "Complete")
    failed = is_true(previous.conditions, "Failed")
    record = RevisionRecord(
        revision=previous.revision,
        attempt=previous.attempt or 1,
        outcome="Complete" if complete else "Failed" if failed else "Superseded",
        finished=previous.completion_time or timestamp(observed.now),
        artifact_uri=artifact_uri,
    )
    return [record, *previous.history]


def _job_name(plan: Plan, refused: Refusal | None) -> str | None:
    if plan.job is not None:
        return plan.job.name
    created = bool(plan.create) and refused is None
    return str(plan.create[-1]["metadata"]["name"]) if created else None


def ended(
    conditions: Conditions,
    moment: Moment,
    end: JobEnd,
    *,
    published: str | None,
    result: type[RunEnd],
    words: Words,
    in_use: str | None = None,
) -> str:
    """Add the conditions of a run whose Job has ended; returns its phase.

    `published`: the URI of its result. `in_use`: that of an older one, which stays.
    """
    spec = moment.observed.spec
    assert spec is not None
    complete = end.complete and published is not None
    if complete:
        conditions.set("Complete", True, "Completed", "The result is published.")
        conditions.set("Ready", True, "Published", f"{published}")
        conditions.set("Stalled", False, "Completed")
    else:
        reason, message = (
            ("ResultLost", _result_lost(words))
            if end.complete
            else failure.explain(end, moment.pods, spec.limits, result, words)
        )
        conditions.set("Failed", True, reason, message)
        _unready(conditions, reason, message, in_use, "UpdateFailed")
        conditions.set("Stalled", True, reason, message)
    conditions.set("Running", False, "Finished")
    conditions.keep("Scheduled")
    return "Complete" if complete else "Failed"


def _result_lost(words: Words) -> str:
    return (
        "The Job completed, but its pod was removed before its result was read. Run `luthier "
        f"retry`: the finished artifact is found again, {words.found_again}."
    )


def going_on(
    conditions: Conditions,
    moment: Moment,
    *,
    words: Words,
    in_use: str | None = None,
    awaited: Refusal | None = None,
) -> str:
    """Add the conditions of a run whose Job hasn't ended, or isn't there; returns its phase.

    `in_use`: the URI of an older result, which stays meanwhile. `awaited`: what the resource
    follows and isn't there yet.
    """
    observed, job, pods = moment.observed, moment.job, moment.pods
    hold = moment.refused or moment.plan.hold
    alive = [pod for pod in pods if pod.alive]
    _suspended(conditions, moment, words)
    if hold is not None:
        conditions.set("Scheduled", False, hold.reason, hold.message)
    elif job is not None:
        place = scheduling.explain(observed, job, alive[-1] if alive else None)
        conditions.set("Scheduled", place.scheduled, place.reason, place.message)
    else:
        waiting = scheduling.WAITING
        conditions.set("Scheduled", waiting.scheduled, waiting.reason, waiting.message)
    phase = _phase(moment, hold)
    conditions.set("Running", moment.running, "TrainerRunning" if moment.running else phase)

    if hold is not None and hold.terminal:
        _unready(conditions, hold.reason, hold.message, in_use, "UpdateFailed")
        conditions.set("Stalled", True, hold.reason, hold.message)
    elif awaited is not None:
        _unready(conditions, awaited.reason, awaited.message, in_use, "Updating")
        conditions.set("Stalled", False, "Progressing")
    else:
        message = "The newer one" if in_use else "The result"
        _unready(conditions, phase, f"{message} isn't published yet.", in_use, "Updating")
        conditions.set("Stalled", False, "Progressing")
    return phase


def _unready(
    conditions: Conditions, reason: str, message: str, in_use: str | None, otherwise: str
) -> None:
    if in_use is None:
        conditions.set("Ready", False, reason, message)
    else:
        conditions.set("Ready", True, otherwise, f"{in_use} stays in use. {message}")


def _phase(moment: Moment, hold: Refusal | None) -> str:
    spec, job, pods = moment.observed.spec, moment.job, moment.pods
    assert spec is not None
    if hold is not None and hold.terminal:
        return "Stalled"
    if moment.running:
        return "Running"
    if spec.suspend:
        return "Suspended"
    if job is not None and job.queue is not None and job.suspended:
        return "Queued"
    last = pods[-1] if pods else None
    if last is not None and last.exit_code in (ExitCode.SUCCEEDED, *TERMINAL_EXIT_CODES):
        return "Finishing"  # the Job's end comes a moment after its pod's
    over = any(not pod.alive or pod.exit_code is not None for pod in pods)
    return "Restarting" if over else "Pending"


def _suspended(conditions: Conditions, moment: Moment, words: Words) -> None:
    spec, job = moment.observed.spec, moment.job
    assert spec is not None
    if spec.suspend:
        stopped = not any(pod.alive for pod in moment.pods) and (job is None or job.suspended)
        if job is not None and job.queue is not None and not job.suspended:
            # Its Job's `suspend` is Kueue's: said plainly instead of ignored.
            conditions.set("Suspended", False, "SuspendedByQueueOnly", _BY_QUEUE)
        elif stopped:
            conditions.set("Suspended", True, "Suspended", "spec.suspend is true.")
        else:
            conditions.set("Suspended", False, "Suspending", f"The pod {words.suspending}.")
    elif find(moment.observed.previous.conditions, "Suspended"):
        conditions.set("Suspended", False, "Resumed")


_BY_QUEUE = (
    "Kueue admitted this run, and this version doesn't take it back yet: set spec.active of the "
    "Job's Workload to false, or delete the resource."
)


def on_record(
    observed: AnyObserved, plan: Plan, conditions: Conditions, *, anew: Sequence[str] = ()
) -> dict[str, Any]:
    """The end stands; only what is about this generation moves on. Changes of the status.

    `anew`: conditions that the caller adds, whatever they were.
    """
    previous = observed.previous
    for condition in previous.conditions:
        if condition.type not in ("Suspended", *anew):
            conditions.keep(condition.type)
    return {
        "observed_generation": observed.generation,
        "retry_token": plan.retry_token,
        "phase": "Complete" if is_true(previous.conditions, "Complete") else "Failed",
    }


def unreadable(observed: AnyObserved, plan: Plan, conditions: Conditions) -> dict[str, Any]:
    """Changes of the status of a resource whose spec can't be read."""
    hold = plan.hold
    assert hold is not None
    for kind in ("Complete", "Failed"):
        conditions.keep(kind)
    conditions.set("Ready", False, hold.reason, hold.message)
    conditions.set("Stalled", True, hold.reason, hold.message)
    return {"observed_generation": observed.generation, "phase": "Stalled"}


def ordered(conditions: Conditions, order: Sequence[str]) -> list[Condition]:
    """The conditions, sorted by their type's place in `order`."""
    return sorted(conditions.list(), key=lambda condition: order.index(condition.type))
