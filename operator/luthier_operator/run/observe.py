"""What is there, parsed at the border: the resource, its Jobs and pods, results."""

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.meta import Model, first_error
from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import RunStatus
from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    ATTEMPT_LABEL,
    FINE_TUNE_JOBS,
    OPTIMIZE_JOBS,
    POOL_ANNOTATION,
    QUEUE_LABEL,
    RETRY_ANNOTATION,
    REVISION_LABEL,
    Obj,
    Resource,
    controller_uid,
)
from luthier_operator.run.model import (
    Around,
    Job,
    JobEnd,
    Observed,
    Owner,
    Pod,
)
from luthier_operator.run.pod import CONTAINER

ModelT = TypeVar("ModelT", bound=Model)
KindSpec = TypeVar("KindSpec", bound=RunSettings)
KindStatus = TypeVar("KindStatus", bound=RunStatus)
KindSources = TypeVar("KindSources")

_STATUS: dict[Resource, type[RunStatus]] = {
    FINE_TUNE_JOBS: FineTuneJobStatus,
    OPTIMIZE_JOBS: OptimizeJobStatus,
    ADAPTER_BUNDLES: AdapterBundleStatus,
}


def observe(
    resource: Resource,
    obj: Obj,
    around: Around,
    *,
    spec: KindSpec | None,
    invalid: str,
    previous: KindStatus,
    sources: KindSources,
) -> Observed[KindSpec, KindStatus, KindSources]:
    """Put together what is known; what another owner made is left out."""
    metadata = obj["metadata"]
    uid = metadata["uid"]
    own_jobs = tuple(parse_job(job) for job in around.jobs if controller_uid(job) == uid)
    job_uids = {job.uid for job in own_jobs}
    own_pods = [
        parse_pod(pod)
        for pod in around.pods
        if pod["metadata"]["namespace"] == metadata["namespace"]
    ]
    annotations = metadata.get("annotations") or {}
    report = around.report
    return Observed(
        owner=Owner(resource, metadata["namespace"], metadata["name"], uid),
        generation=metadata.get("generation", 0),
        retry_token=annotations.get(RETRY_ANNOTATION),
        spec=spec,
        invalid=invalid,
        previous=previous,
        sources=sources,
        jobs=own_jobs,
        # A pod whose Job is gone from the store still counts: it may still run.
        pods=tuple(
            sorted(
                (pod for pod in own_pods if pod.job_uid in job_uids or pod.alive),
                key=lambda pod: (pod.created, pod.name),
            )
        ),
        report=report if report and report.run.uid == uid else None,
        notes=around.notes,
        workload=around.workload,
        platform=around.platform,
        now=around.now,
    )


def parse_spec(model: type[ModelT], obj: Obj) -> tuple[ModelT | None, str]:
    """The spec, or why it can't be read: the first wrong field and what is wrong with it."""
    try:
        return model.model_validate(obj.get("spec") or {}), ""
    except ValidationError as error:
        where, problem = first_error(error)
        return None, f"{'.'.join(filter(None, ('spec', where)))}: {problem}"


def parse_status(model: type[ModelT], obj: Obj) -> ModelT:
    """The status; a field that another version wrote otherwise is left out, not the whole."""
    status = obj.get("status") or {}
    try:
        return model.model_validate(status)
    except ValidationError:
        return model.model_validate(
            {name: value for name, value in status.items() if _readable(model, name, value)}
        )


def parse_any_status(resource: Resource, obj: Obj) -> RunStatus:
    """The status of a resource of any kind."""
    return parse_status(_STATUS[resource], obj)


def _readable(model: type[Model], name: str, value: Any) -> bool:
    try:
        model.model_validate({name: value})
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


def parse_result(model: type[ModelT], message: str) -> ModelT | None:
    """A trainer's result; None for a container that died without one."""
    try:
        return model.model_validate(json.loads(message))
    except (ValueError, ValidationError):
        return None
