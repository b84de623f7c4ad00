"""What is there: the resource, its Jobs and pods, the trainer's last report, as models."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.platform import Platform
from luthier_api.progress import ProgressReport
from luthier_api.result import RunResult
from luthier_operator.finetunejob.pod import CONTAINER
from luthier_operator.resources import (
    ATTEMPT_LABEL,
    POOL_ANNOTATION,
    QUEUE_LABEL,
    RETRY_ANNOTATION,
    REVISION_LABEL,
    Obj,
    controller_uid,
)


@dataclass(frozen=True)
class JobEnd:
    """How a Job ended."""

    complete: bool
    reason: str
    message: str
    time: str


@dataclass(frozen=True)
class Job:
    """A run's Job."""

    obj: Obj
    name: str
    uid: str
    revision: str
    attempt: int
    created: str
    suspended: bool
    deleting: bool
    queue: str | None
    pool: str | None
    ttl: int | None
    end: JobEnd | None


@dataclass(frozen=True)
class Pod:
    """A pod of a run."""

    name: str
    uid: str
    job_uid: str | None
    phase: str
    created: str
    deleting: bool
    node: str | None
    unschedulable: str | None  # the scheduler's words
    waiting: tuple[str, str] | None  # reason and message of a container that doesn't start
    started: str | None  # when the container started
    running: bool
    exit_code: int | None
    out_of_memory: bool
    finished: str | None
    message: str  # the termination message

    @property
    def alive(self) -> bool:
        """Whether a container of it may still run."""
        return self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True)
class Observed:
    """Everything that a decision rests on."""

    namespace: str
    name: str
    uid: str
    generation: int
    retry_token: str | None
    spec: FineTuneJobSpec | None  # None where the stored one can't be read
    invalid: str  # why
    previous: FineTuneJobStatus
    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]  # oldest first
    report: ProgressReport | None
    notes: tuple[str, ...]  # Warning events about the Job or pod that doesn't come up
    platform: Platform
    now: datetime
    workload: Obj | None = field(default=None)


def observe(
    obj: Obj,
    *,
    jobs: list[Obj],
    pods: list[Obj],
    report: ProgressReport | None,
    notes: tuple[str, ...],
    workload: Obj | None,
    platform: Platform,
    now: datetime,
) -> Observed:
    """Parse everything at the border; what another owner made is left out."""
    metadata = obj["metadata"]
    uid = metadata["uid"]
    own_jobs = tuple(parse_job(job) for job in jobs if controller_uid(job) == uid)
    job_uids = {job.uid for job in own_jobs}
    own_pods = [
        parse_pod(pod) for pod in pods if pod["metadata"]["namespace"] == metadata["namespace"]
    ]
    spec, invalid = parse_spec(obj.get("spec") or {})
    annotations = metadata.get("annotations") or {}
    return Observed(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=uid,
        generation=metadata.get("generation", 0),
        retry_token=annotations.get(RETRY_ANNOTATION),
        spec=spec,
        invalid=invalid,
        previous=parse_status(obj.get("status") or {}),
        jobs=own_jobs,
        # A pod whose Job is gone from the store still counts: it may still run.
        pods=tuple(
            sorted(
                (pod for pod in own_pods if pod.job_uid in job_uids or pod.alive),
                key=lambda pod: (pod.created, pod.name),
            )
        ),
        report=report if report and report.run.uid == uid else None,
        notes=notes,
        workload=workload,
        platform=platform,
        now=now,
    )


def parse_spec(spec: dict[str, Any]) -> tuple[FineTuneJobSpec | None, str]:
    """The spec, or why it can't be read: the first wrong field and what is wrong with it."""
    try:
        return FineTuneJobSpec.model_validate(spec), ""
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(("spec", *(str(part) for part in first["loc"])))
        return None, f"{where}: {first['msg']}"


def parse_status(status: dict[str, Any]) -> FineTuneJobStatus:
    """The status; a field that another version wrote otherwise is left out, not the whole."""
    try:
        return FineTuneJobStatus.model_validate(status)
    except ValidationError:
        return FineTuneJobStatus.model_validate(
            {name: value for name, value in status.items() if _readable(name, value)}
        )


def _readable(name: str, value: Any) -> bool:
    try:
        FineTuneJobStatus.model_validate({name: value})
    except ValidationError:
        return False
    return True


def parse_job(obj: Obj) -> Job:
    """A Job of the store."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj["status"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    attempt = labels.get(ATTEMPT_LABEL, "")
    return Job(
        obj=obj,
        name=metadata["name"],
        uid=metadata["uid"],
        revision=labels.get(REVISION_LABEL, ""),
        attempt=int(attempt) if attempt.isdigit() else 0,
        created=metadata.get("creationTimestamp", ""),
        suspended=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in metadata,
        queue=labels.get(QUEUE_LABEL),
        pool=annotations.get(POOL_ANNOTATION),
        ttl=spec.get("ttlSecondsAfterFinished"),
        end=_job_end(status.get("conditions") or []),
    )


def _job_end(conditions: list[dict[str, str]]) -> JobEnd | None:
    for condition in conditions:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return JobEnd(
                complete=condition["type"] == "Complete",
                reason=condition.get("reason", ""),
                message=condition.get("message", ""),
                time=condition.get("lastTransitionTime", ""),
            )
    return None


def parse_pod(obj: Obj) -> Pod:
    """A pod of the store."""
    metadata, status = obj["metadata"], obj["status"]
    state: dict[str, Any] = {}
    for container in status.get("containerStatuses") or []:
        if container["name"] == CONTAINER:
            state = container.get("state") or {}
    scheduled: dict[str, str] = next(
        (c for c in status.get("conditions") or [] if c["type"] == "PodScheduled"), {}
    )
    waiting, running = state.get("waiting"), state.get("running")
    ended = state.get("terminated") or {}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=controller_uid(obj),
        phase=status.get("phase", "Pending"),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        node=obj["spec"].get("nodeName"),
        unschedulable=(
            scheduled.get("message", "") if scheduled.get("status") == "False" else None
        ),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else None,
        started=(running or ended).get("startedAt"),
        running=running is not None,
        exit_code=ended.get("exitCode"),
        out_of_memory=ended.get("reason") == "OOMKilled",
        finished=ended.get("finishedAt"),
        message=ended.get("message", ""),
    )


def parse_result(message: str) -> RunResult | None:
    """A trainer's result; None for a container that died without one."""
    try:
        return RunResult.model_validate(json.loads(message))
    except (ValueError, ValidationError):
        return None
