"""What carries a run out, and the changes that are made to it while it does. Pure.

A Job, or for several nodes a JobSet (jobset.py): the decisions know the fields of neither.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luthier_api.placement import Limits
from luthier_api.revision import is_revision
from luthier_operator.resources import (
    ATTEMPT_LABEL,
    ERRAND_ANNOTATION,
    JOBS,
    POOL_ANNOTATION,
    QUEUE_LABEL,
    REVISION_LABEL,
    ROLE_LABEL,
    SETTINGS_ANNOTATION,
    SUSPENDED_ANNOTATION,
    Obj,
    Resource,
    label_of,
)
from luthier_operator.run.drift import parse_settings
from luthier_operator.run.model import Errand, Job, JobEnd

# The role of the Job that makes a revision's result; others help it, and are no attempt.
RUN = "run"
PROBE, KEEP = "probe", "keep"
ERRANDS = (PROBE, KEEP)
# A Job with this deadline ends at once, and its pods stay to tell why.
AT_ONCE = 1
# A Job completes, a JobSet is completed.
_ENDS = ("Complete", "Completed", "Failed")
_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Change:
    """Fields to change of an object that is there."""

    resource: Resource
    obj: Obj
    changes: Obj


class Workload(Protocol):
    """How a run is read from, and what is changed of, the object that carries it out."""

    resource: Resource

    def parse(self, obj: Obj, jobs: Sequence[Obj], /) -> Job | None:
        """An object of the store; None for one that isn't a run of ours. `jobs`: the Jobs that
        serve the same resource, among them those that the object controls."""

    def suspend(self, suspend: bool) -> Obj:
        """Changes of it that stop its pods, or let them start; marked as ours."""

    def ttl(self, seconds: int | None) -> Obj:
        """Changes of it that remove it so long after its end."""

    def queue(self, name: str) -> Obj:
        """Changes of it that move it, while it waits, to another queue."""

    def end(self, job: Job) -> Change | None:
        """What lets it fail at once; None: that can't be said now."""

    def limit(self, job: Job, limits: Limits) -> Change | None:
        """What brings its limits in step; None where they are."""


class JobWorkload:
    """A `batch/v1` Job."""

    resource = JOBS

    def parse(self, obj: Obj, _jobs: Sequence[Obj] = (), /) -> Job | None:
        """None where its labels name no revision and attempt, or another role."""
        attempt = attempt_of(obj)
        if attempt is None:
            return None
        spec, uid = obj["spec"], obj["metadata"]["uid"]
        deadline = spec.get("activeDeadlineSeconds")
        return Job(
            **common_fields(JOBS, obj, attempt),
            deadline=deadline,
            max_restarts=spec.get("backoffLimit"),
            end=job_end(obj["status"].get("conditions") or []),
            ending=deadline == AT_ONCE,
            parts=spec.get("completions") or 1,
            pod_owners=frozenset((uid,)),
        )

    def suspend(self, suspend: bool) -> Obj:
        """The Job's own `suspend`."""
        return suspended(suspend)

    def ttl(self, seconds: int | None) -> Obj:
        """The Job's own TTL."""
        return {"spec": {"ttlSecondsAfterFinished": seconds}}

    def queue(self, name: str) -> Obj:
        """Kueue's label."""
        return {"metadata": {"labels": {QUEUE_LABEL: name}}}

    def end(self, job: Job) -> Change | None:
        """By a deadline that is over."""
        return Change(JOBS, job.obj, {"spec": {"activeDeadlineSeconds": AT_ONCE}})

    def limit(self, job: Job, limits: Limits) -> Change | None:
        """Deadline and restarts. A Job whose restarts the store doesn't know is left alone."""
        changes: Obj = {}
        if job.deadline != limits.active_deadline_seconds:
            changes["activeDeadlineSeconds"] = limits.active_deadline_seconds
        if job.max_restarts not in (None, limits.max_restarts):
            changes["backoffLimit"] = limits.max_restarts
        return Change(JOBS, job.obj, {"spec": changes}) if changes else None


JOB = JobWorkload()


def attempt_of(obj: Obj) -> tuple[str, int] | None:
    """Revision and attempt that an object's labels name; None for what is no run of ours."""
    labels = obj["metadata"].get("labels") or {}
    revision, attempt = labels.get(REVISION_LABEL) or "", labels.get(ATTEMPT_LABEL) or ""
    if labels.get(ROLE_LABEL, RUN) != RUN:
        return None
    if not (is_revision(revision) and _ATTEMPT.fullmatch(attempt)):
        return None
    return revision, int(attempt)


def common_fields(resource: Resource, obj: Obj, attempt: tuple[str, int]) -> dict[str, Any]:
    """The fields of `Job` that are read alike of all that may carry a run out."""
    metadata, spec = obj["metadata"], obj["spec"]
    annotations = metadata.get("annotations") or {}
    return {
        "resource": resource,
        "obj": obj,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "revision": attempt[0],
        "attempt": attempt[1],
        "created": metadata.get("creationTimestamp", ""),
        "suspended": bool(spec.get("suspend")),
        "suspended_by_us": SUSPENDED_ANNOTATION in annotations,
        "deleting": "deletionTimestamp" in metadata,
        "queue": label_of(obj, QUEUE_LABEL),
        "pool": annotations.get(POOL_ANNOTATION),
        "settings": parse_settings(annotations.get(SETTINGS_ANNOTATION)),
        "ttl": spec.get("ttlSecondsAfterFinished"),
    }


def suspended(suspend: bool) -> Obj:
    """Changes of `suspend`, with the mark that they are ours."""
    mark = {SUSPENDED_ANNOTATION: "true" if suspend else None}
    return {"metadata": {"annotations": mark}, "spec": {"suspend": suspend}}


def parse_errand(obj: Obj) -> Errand | None:
    """A Job of the store; None for one that is no errand."""
    metadata = obj["metadata"]
    role = (metadata.get("labels") or {}).get(ROLE_LABEL)
    about = (metadata.get("annotations") or {}).get(ERRAND_ANNOTATION)
    if role not in ERRANDS or about is None:
        return None
    return Errand(
        obj=obj,
        name=metadata["name"],
        uid=metadata["uid"],
        role=role,
        about=about,
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        end=job_end(obj["status"].get("conditions") or []),
    )


def job_end(conditions: list[dict[str, str]]) -> JobEnd | None:
    """How a Job or JobSet ended, by its conditions; None as long as it hasn't."""
    for condition in conditions:
        if condition["type"] in _ENDS and condition["status"] == "True":
            return JobEnd(
                complete=condition["type"] != "Failed",
                reason=condition.get("reason", ""),
                message=condition.get("message", ""),
                time=condition.get("lastTransitionTime", ""),
            )
    return None
