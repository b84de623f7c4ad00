"""A JobSet that carries a run of several nodes out: one Job of so many pods. Pure.

JobSet makes the Job, and makes it anew, with all its pods, when one of them fails. It has no
deadline of its own: that of each Job is what is left of the run's (docs/adr/0026).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from luthier_api.placement import Limits
from luthier_operator.resources import (
    JOB_SETS,
    JOBS,
    QUEUE_LABEL,
    Obj,
    controller_uid,
)
from luthier_operator.run.model import Job, JobEnd
from luthier_operator.run.workload import (
    AT_ONCE,
    Change,
    attempt_of,
    common_fields,
    job_end,
    suspended,
)

# What JobSet says once its Job has failed more often than it may.
REACHED_MAX_RESTARTS = "ReachedMaxRestarts"
BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
# A Job begins a moment after its JobSet: no deadline is changed for that.
_MOMENT_SECONDS = 5


class JobSetWorkload:
    """A `jobset.x-k8s.io/v1alpha2` JobSet."""

    resource = JOB_SETS

    def parse(self, obj: Obj, jobs: Sequence[Obj], /) -> Job | None:
        """None where its labels name no revision and attempt, or another role."""
        attempt = attempt_of(obj)
        if attempt is None:
            return None
        spec, status, uid = obj["spec"], obj["status"], obj["metadata"]["uid"]
        own = [job for job in jobs if controller_uid(job) == uid]
        own.sort(
            key=lambda job: (job["metadata"].get("creationTimestamp", ""), job["metadata"]["uid"])
        )
        inner = own[-1] if own else None
        counted = status.get("restartsCountTowardsMax") or 0
        deadline = inner["spec"].get("activeDeadlineSeconds") if inner else None
        return Job(
            **common_fields(JOB_SETS, obj, attempt),
            deadline=deadline and _whole(deadline + _before(obj, inner), obj),
            max_restarts=(spec.get("failurePolicy") or {}).get("maxRestarts"),
            end=_end(obj, inner, counted),
            ending=deadline == AT_ONCE,
            parts=_pods(spec),
            together=True,
            inner=inner,
            pod_owners=frozenset(job["metadata"]["uid"] for job in own),
            uncounted=max(0, (status.get("restarts") or 0) - counted),
        )

    def suspend(self, suspend: bool) -> Obj:
        """The JobSet's own `suspend`, which it hands on."""
        return suspended(suspend)

    def ttl(self, seconds: int | None) -> Obj:
        """The JobSet's own TTL."""
        return {"spec": {"ttlSecondsAfterFinished": seconds}}

    def queue(self, name: str) -> Obj:
        """Kueue's label."""
        return {"metadata": {"labels": {QUEUE_LABEL: name}}}

    def end(self, job: Job) -> Change | None:
        """By the deadline of its Job, which ends the JobSet (build.py)."""
        if job.inner is None:
            return None
        return Change(JOBS, job.inner, {"spec": {"activeDeadlineSeconds": AT_ONCE}})

    def limit(self, job: Job, limits: Limits) -> Change | None:
        """The deadline: each Job that it makes anew has what is left of it. How often it restarts
        can't be changed."""
        wanted = limits.active_deadline_seconds
        if job.inner is None or _within_a_moment(job.deadline, wanted):
            return None
        left = wanted and max(AT_ONCE + 1, wanted - _before(job.obj, job.inner))
        if left == job.inner["spec"].get("activeDeadlineSeconds"):
            return None
        return Change(JOBS, job.inner, {"spec": {"activeDeadlineSeconds": left}})


JOB_SET = JobSetWorkload()


def _end(obj: Obj, inner: Obj | None, counted: int) -> JobEnd | None:
    """In the words of its Job, which says more, where it is still there."""
    end = job_end(obj["status"].get("conditions") or [])
    if end is None or end.complete:
        return end
    if end.reason == REACHED_MAX_RESTARTS:
        return replace(end, reason=BACKOFF_LIMIT_EXCEEDED, failures=counted + 1)
    of_job = job_end(inner["status"].get("conditions") or []) if inner else None
    if of_job is None or of_job.complete:
        return end
    return replace(end, reason=of_job.reason, message=of_job.message)


def _pods(spec: Obj) -> int:
    return _template(spec).get("completions") or 1


def _whole(deadline: int, obj: Obj) -> int:
    """A JobSet's deadline, by what its Job has of it: what it was made with, but where that has
    been changed since."""
    made: int | None = _template(obj["spec"]).get("activeDeadlineSeconds")
    return made if made is not None and _within_a_moment(deadline, made) else deadline


def _template(spec: Obj) -> Obj:
    """The spec of its Jobs."""
    first: Obj = next(iter(spec.get("replicatedJobs") or []), {})
    template: Obj = (first.get("template") or {}).get("spec") or {}
    return template


def _before(obj: Obj, inner: Obj | None) -> int:
    """Seconds of a JobSet's time that had passed when its Job began; 0 before it has."""
    began = _time(inner["status"].get("startTime")) if inner else None
    since = _time(_since(obj))
    if began is None or since is None:
        return 0
    return max(0, int((began - since).total_seconds()))


def _since(obj: Obj) -> str | None:
    """Since when a deadline counts: it starts anew after a suspension."""
    for condition in obj["status"].get("conditions") or []:
        if condition["type"] == "Suspended" and condition["status"] == "False":
            resumed: str | None = condition.get("lastTransitionTime")
            return resumed
    created: str | None = obj["metadata"].get("creationTimestamp")
    return created


def _within_a_moment(deadline: int | None, wanted: int | None) -> bool:
    if deadline is None or wanted is None:
        return deadline == wanted
    return abs(deadline - wanted) <= _MOMENT_SECONDS


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
