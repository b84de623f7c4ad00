"""What carries a run out, and the changes that are made to it while it does. Pure.

A Job today. Whatever else may carry one out (a JobSet, for several nodes) is another implementation
of `Workload`: the decisions know the fields of neither.
"""

import re
from typing import Protocol

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
)
from luthier_operator.run.drift import parse_settings
from luthier_operator.run.model import Errand, Job, JobEnd

# The role of the Job that makes a revision's result; others help it, and are no attempt.
RUN = "run"
PROBE, KEEP = "probe", "keep"
ERRANDS = (PROBE, KEEP)
# A Job with this deadline ends at once, and its pods stay to tell why.
AT_ONCE = 1
_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")


class Workload(Protocol):
    """How a run is read from, and what is changed of, the object that carries it out."""

    resource: Resource

    def parse(self, obj: Obj) -> Job | None:
        """An object of the store; None for one that isn't a run of ours."""

    def suspend(self, suspend: bool) -> Obj:
        """Changes that stop its pods, or let them start; marked as ours."""

    def ttl(self, seconds: int | None) -> Obj:
        """Changes that remove it so long after its end."""

    def end(self) -> Obj:
        """Changes that let it fail at once."""

    def limit(self, job: Job, limits: Limits) -> Obj:
        """Changes that bring its limits in step; empty where they are."""

    def queue(self, name: str) -> Obj:
        """Changes that move it, while it waits, to another queue."""


class JobWorkload:
    """A `batch/v1` Job."""

    resource = JOBS

    def parse(self, obj: Obj) -> Job | None:
        """None where its labels name no revision and attempt, or another role."""
        metadata, spec, status = obj["metadata"], obj["spec"], obj["status"]
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        revision, attempt = labels.get(REVISION_LABEL) or "", labels.get(ATTEMPT_LABEL) or ""
        if labels.get(ROLE_LABEL, RUN) != RUN:
            return None
        if not (is_revision(revision) and _ATTEMPT.fullmatch(attempt)):
            return None
        return Job(
            obj=obj,
            name=metadata["name"],
            uid=metadata["uid"],
            revision=revision,
            attempt=int(attempt),
            created=metadata.get("creationTimestamp", ""),
            suspended=bool(spec.get("suspend")),
            suspended_by_us=SUSPENDED_ANNOTATION in annotations,
            deleting="deletionTimestamp" in metadata,
            queue=labels.get(QUEUE_LABEL),
            pool=annotations.get(POOL_ANNOTATION),
            settings=parse_settings(annotations.get(SETTINGS_ANNOTATION)),
            ttl=spec.get("ttlSecondsAfterFinished"),
            deadline=spec.get("activeDeadlineSeconds"),
            max_restarts=spec.get("backoffLimit"),
            end=job_end(status.get("conditions") or []),
            parts=spec.get("completions") or 1,
        )

    def suspend(self, suspend: bool) -> Obj:
        """The Job's own `suspend`."""
        mark = {SUSPENDED_ANNOTATION: "true" if suspend else None}
        return {"metadata": {"annotations": mark}, "spec": {"suspend": suspend}}

    def ttl(self, seconds: int | None) -> Obj:
        """The Job's own TTL."""
        return {"spec": {"ttlSecondsAfterFinished": seconds}}

    def end(self) -> Obj:
        """By a deadline that is over."""
        return {"spec": {"activeDeadlineSeconds": AT_ONCE}}

    def limit(self, job: Job, limits: Limits) -> Obj:
        """Deadline and restarts. A Job whose restarts the store doesn't know is left alone."""
        changes: Obj = {}
        if job.deadline != limits.active_deadline_seconds:
            changes["activeDeadlineSeconds"] = limits.active_deadline_seconds
        if job.max_restarts not in (None, limits.max_restarts):
            changes["backoffLimit"] = limits.max_restarts
        return {"spec": changes} if changes else {}

    def queue(self, name: str) -> Obj:
        """Kueue's label."""
        return {"metadata": {"labels": {QUEUE_LABEL: name}}}


JOB: Workload = JobWorkload()


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
    """How a Job ended, by its conditions; None as long as it hasn't."""
    for condition in conditions:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return JobEnd(
                complete=condition["type"] == "Complete",
                reason=condition.get("reason", ""),
                message=condition.get("message", ""),
                time=condition.get("lastTransitionTime", ""),
            )
    return None
