"""The conditions, phase and times that the runs of all kinds share. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from luthier_api import reasons
from luthier_api.meta import Condition
from luthier_api.result import ExitCode, RunEnd
from luthier_api.runstatus import InUse
from luthier_operator.conditions import Conditions, find, is_true, timestamp
from luthier_operator.errors import Refusal
from luthier_operator.run import errands, failure, scheduling
from luthier_operator.run.build import output_of
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import AnyObserved, Job, JobEnd, Pod, have_ended
from luthier_operator.run.revision import runs_with
from luthier_operator.run.sentences import Sentences
from luthier_operator.run.standing import Standing

# The conditions that every kind has, in their order but for `Running`.
SHARED = (
    "Ready",
    "Reconciling",
    "Stalled",
    "Suspended",
    "Complete",
    "Failed",
    "Scheduled",
    "SettingsApplied",
    errands.REFUSED,
)


# What moves on although the run's end is on record.
_TOLD_ANEW = ("Suspended", "Scheduled", "SettingsApplied", errands.REFUSED, "Promoted", "Kept")

ObservedT = TypeVar("ObservedT", bound=AnyObserved, covariant=True)


@dataclass(frozen=True)
class Run(Generic[ObservedT]):
    """A run that has no end on record, as it is now."""

    observed: ObservedT
    plan: Plan
    refused: Refusal | None  # the API server didn't take what the plan creates

    @property
    def pods(self) -> list[Pod]:
        """Its Job's, oldest first."""
        return self.observed.pods_of(self.plan.job)

    @property
    def job(self) -> Job | None:
        """Its Job."""
        return self.plan.job

    @property
    def end(self) -> JobEnd | None:
        """How its Job ended."""
        return self.plan.job.end if self.plan.job is not None else None

    @property
    def complete(self) -> bool:
        """Whether its Job ended well."""
        return self.end is not None and self.end.complete

    @property
    def output(self) -> str:
        """The folder of its result; empty where it isn't known yet what is to run."""
        spec, revision = self.observed.spec, self.plan.revision
        if spec is None or revision is None:
            return ""
        return output_of(self.observed.owner, spec, revision)

    @property
    def running(self) -> bool:
        """Whether the trainer runs: of several pods that can't do without each other, in all."""
        working = [pod for pod in self.pods if pod.running and not pod.deleting]
        if self.job is None or not self.job.together or not working:
            return bool(working)
        done = sum(pod.exit_code == ExitCode.SUCCEEDED for pod in self.pods)
        return len(working) + done >= self.job.parts


AnyRun = Run[AnyObserved]


def fields(run: AnyRun) -> dict[str, Any]:
    """The fields of RunStatus that say which run it is, and its times."""
    observed, plan, previous = run.observed, run.plan, run.observed.previous
    revision = plan.revision
    same_attempt = revision is not None and (previous.revision, previous.attempt) == (
        revision.name,
        revision.attempt,
    )
    starts = [_started(pod, pod.started, observed.now) for pod in run.pods if pod.started]
    started = min(starts, default=None)
    return {
        "observed_generation": observed.generation,
        "revision": revision.name if revision else None,
        "attempt": revision.attempt if revision else None,
        "attempt_hash": revision
        and runs_with(observed, plan.job, plan.later, same_attempt=same_attempt),
        "retry_token": plan.retry_token,
        "rerun_token": plan.rerun_token,
        "job_name": _job_name(plan, run.refused),
        "start_time": (previous.start_time if same_attempt else None) or started,
        "completion_time": run.end.time if run.end else None,
    }


def _started(pod: Pod, told: str, now: datetime) -> str:
    """`told` is by the clock of the pod's node, which may be off: the pod was there before, and it
    isn't later than now. All are metav1.Time, which sorts as text."""
    return min(max(told, pod.created), timestamp(now))


def _job_name(plan: Plan, refused: Refusal | None) -> str | None:
    if plan.job is not None:
        return plan.job.name
    created = plan.created if refused is None else ()
    return str(created[-1]["metadata"]["name"]) if created else None


def ended(
    conditions: Conditions,
    run: AnyRun,
    end: JobEnd,
    *,
    published: str | None,
    saved: bool,
    result: type[RunEnd],
    sentences: Sentences,
    standing: Standing,
) -> str:
    """Add the conditions of a run whose Job has ended; returns its phase.

    `published`: the URI of its result. `saved`: whether there is something that another attempt
    goes on from.
    """
    spec, job = run.observed.spec, run.job
    assert spec is not None
    assert job is not None
    complete = end.complete and published is not None
    if complete:
        conditions.set("Complete", True, reasons.COMPLETED, "The result is published.")
        _settled(conditions, standing)
    else:
        reason, message = (
            failure.unpublished(run.pods, result, sentences)
            if end.complete
            else failure.explain(
                end,
                run.pods,
                spec.limits,
                result,
                sentences,
                job=job,
                saved=saved,
            )
        )
        conditions.set("Failed", True, reason, message)
        _unready(conditions, reason, message, standing.uri, reasons.UPDATE_FAILED)
        conditions.set("Stalled", True, reason, message)
    conditions.set("Running", False, reasons.FINISHED)
    _placed_no_more(conditions, run.observed)
    return "Complete" if complete else "Failed"


def _settled(conditions: Conditions, standing: Standing) -> None:
    """The result is published: whether it is what is in use."""
    out = standing.kept_out
    if out is None:
        conditions.set("Ready", True, reasons.PUBLISHED, standing.uri or "")
        conditions.set("Stalled", False, reasons.COMPLETED)
        return
    _unready(conditions, out.reason, out.message, standing.uri, standing.older)
    if out.terminal:
        conditions.set("Stalled", True, out.reason, out.message)
    else:
        conditions.set("Stalled", False, reasons.COMPLETED)


def _placed_no_more(conditions: Conditions, observed: AnyObserved) -> None:
    """What held a run back while it waited is no news of one that has ended."""
    known = find(observed.previous.conditions, "Scheduled")
    if known is not None and known.status == "True":
        conditions.keep("Scheduled")
    elif known is not None:
        conditions.set("Scheduled", False, reasons.FINISHED)


def going_on(
    conditions: Conditions,
    run: AnyRun,
    *,
    sentences: Sentences,
    in_use: str | None = None,
    awaited: Refusal | None = None,
) -> str:
    """Add the conditions of a run whose Job hasn't ended, or isn't there; returns its phase.

    `in_use`: the URI of an older result, which stays meanwhile. `awaited`: what the resource
    follows and isn't there yet.
    """
    observed, job, pods = run.observed, run.job, run.pods
    hold = run.refused or run.plan.hold
    _suspended(conditions, run, sentences)
    if hold is not None:
        conditions.set("Scheduled", False, hold.reason, hold.message)
    elif job is not None:
        place = scheduling.explain(observed, job, _speaker(job, pods))
        conditions.set("Scheduled", place.scheduled, place.reason, place.message)
    else:
        waiting = scheduling.WAITING
        conditions.set("Scheduled", waiting.scheduled, waiting.reason, waiting.message)
    if run.plan.later:
        conditions.set("SettingsApplied", False, reasons.NEXT_ATTEMPT, _later(run))
    phase = _phase(run, hold)
    conditions.set("Running", run.running, reasons.TRAINER_RUNNING if run.running else phase)

    if hold is not None and hold.terminal:
        _unready(conditions, hold.reason, hold.message, in_use, reasons.UPDATE_FAILED)
        conditions.set("Stalled", True, hold.reason, hold.message)
    else:
        newer = "The newer one" if in_use else "The result"
        why = awaited or Refusal(phase, f"{newer} isn't published yet.")
        _unready(conditions, why.reason, why.message, in_use, reasons.UPDATING)
        # Ready is True of an older result, too: to GitOps engines, an edit would be rolled out.
        conditions.set("Reconciling", True, why.reason, why.message)
        conditions.set("Stalled", False, reasons.PROGRESSING)
    return phase


def _speaker(job: Job, pods: list[Pod]) -> Pod | None:
    """Of several pods the one whose place is told. One that works speaks for those that do beside
    it; of those that can't do without each other, one that doesn't work yet. `pods`: the Job's,
    oldest first."""
    alive = [pod for pod in pods if pod.alive]
    if not job.together:
        return next((it for it in reversed(alive) if it.running), alive[-1] if alive else None)
    done = sum(pod.exit_code == ExitCode.SUCCEEDED for pod in pods)
    if not alive or len(alive) + done < job.parts:
        return None  # there is one to come
    return next((it for it in alive if not it.running), alive[0])


def _later(run: AnyRun) -> str:
    kind = run.job.resource.kind if run.job else "Job"
    return (
        f"Changed after the run's pod had started: {', '.join(run.plan.later)}. The next attempt "
        f"is made of it; to have one now, delete the run's {kind}."
    )


def _unready(
    conditions: Conditions, reason: str, message: str, in_use: str | None, otherwise: str
) -> None:
    if in_use is None:
        conditions.set("Ready", False, reason, message)
    else:
        conditions.set("Ready", True, otherwise, f"{in_use} stays in use. {message}")


def _phase(run: AnyRun, hold: Refusal | None) -> str:
    spec, job, pods = run.observed.spec, run.job, run.pods
    assert spec is not None
    if hold is not None and hold.terminal:
        return "Stalled"
    if run.running:
        return "Running"
    if spec.suspend:
        return "Suspended"
    if job is not None and job.queue is not None and job.suspended:
        return "Queued"
    if have_ended(pods, job.parts if job else 1):
        return "Finishing"  # the Job's end comes a moment after its pod's
    over = any(not pod.alive or pod.exit_code is not None for pod in pods)
    return "Restarting" if over else "Pending"


def _suspended(conditions: Conditions, run: AnyRun, sentences: Sentences) -> None:
    spec, job = run.observed.spec, run.job
    assert spec is not None
    if spec.suspend:
        stopped = not any(pod.alive for pod in run.pods) and (job is None or job.suspended)
        if stopped:
            conditions.set("Suspended", True, reasons.SUSPENDED, "spec.suspend is true.")
        else:
            conditions.set("Suspended", False, reasons.SUSPENDING, sentences.suspending)
    elif find(run.observed.previous.conditions, "Suspended"):
        conditions.set("Suspended", False, reasons.RESUMED)


def on_record(
    observed: AnyObserved, plan: Plan, conditions: Conditions, standing: Standing
) -> dict[str, Any]:
    """The end stands; only what is about this generation moves on. Changes of the status."""
    previous = observed.previous
    for condition in previous.conditions:
        if condition.type not in _TOLD_ANEW:
            conditions.keep(condition.type)
    _restated(conditions, previous.conditions, standing)
    _placed_no_more(conditions, observed)
    return {
        "observed_generation": observed.generation,
        "retry_token": plan.retry_token,
        "rerun_token": plan.rerun_token,
        "phase": "Complete" if is_true(previous.conditions, "Complete") else "Failed",
    }


def _restated(conditions: Conditions, previous: Sequence[Condition], standing: Standing) -> None:
    """What is in use may be another one since, and a spec that couldn't be read had its say in
    place of the run's end."""
    if is_true(previous, "Complete"):
        _settled(conditions, standing)
    elif failed := find(previous, "Failed"):
        _unready(conditions, failed.reason, failed.message, standing.uri, reasons.UPDATE_FAILED)
        conditions.set("Stalled", True, failed.reason, failed.message)


def unreadable(
    observed: AnyObserved, plan: Plan, conditions: Conditions, in_use: InUse | None
) -> dict[str, Any]:
    """Changes of the status of a resource whose spec can't be read."""
    hold = plan.hold
    assert hold is not None
    for kind in ("Complete", "Failed", "Promoted", "Kept"):
        conditions.keep(kind)
    uri = in_use.uri if in_use else None
    _unready(conditions, hold.reason, hold.message, uri, reasons.UPDATE_FAILED)
    conditions.set("Stalled", True, hold.reason, hold.message)
    return {"observed_generation": observed.generation, "phase": "Stalled"}


def ordered(conditions: Conditions, order: Sequence[str]) -> list[Condition]:
    """The conditions, sorted by their type's place in `order`."""
    return sorted(conditions.list(), key=lambda condition: order.index(condition.type))
