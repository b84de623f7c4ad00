"""What is there, parsed at the border: the resource, its Jobs and pods, results."""

from typing import Any, TypeVar

from pydantic import ValidationError

from luthier_api.kinds import KINDS
from luthier_api.meta import Model, first_error
from luthier_api.readable import readable_part, readable_part_json
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import RunStatus
from luthier_operator.conditions import tell_an_end
from luthier_operator.resources import (
    INDEX_LABEL,
    RERUN_ANNOTATION,
    RETRAIN_ANNOTATION,
    RETRY_ANNOTATION,
    ROLE_LABEL,
    UID_LABEL,
    Obj,
    Resource,
    controller_uid,
    label_of,
)
from luthier_operator.run.carriers import carriers
from luthier_operator.run.memo import PARSED, Memo
from luthier_operator.run.model import (
    AnyObserved,
    Around,
    Observed,
    Owner,
    Pod,
)
from luthier_operator.run.pod import CONTAINER
from luthier_operator.run.workload import ERRANDS, parse_errand

_SPECS, _STATUSES = Memo(PARSED), Memo(PARSED)

ModelT = TypeVar("ModelT", bound=Model)
KindSpec = TypeVar("KindSpec", bound=RunSettings)
KindStatus = TypeVar("KindStatus", bound=RunStatus)
KindSources = TypeVar("KindSources")


def assemble(
    resource: Resource,
    obj: Obj,
    around: Around,
    *,
    spec: KindSpec | None,
    invalid: str,
    previous: KindStatus,
    sources: KindSources,
) -> Observed[KindSpec, KindStatus, KindSources]:
    """Put together what is known; what another owner made is left out.

    Labels and owner references are words of whoever created an object: they count within the
    resource's own namespace only, where its users may create pods anyhow.
    """
    metadata = obj["metadata"]
    uid = metadata["uid"]

    def here(child: Obj) -> bool:
        return bool(child["metadata"]["namespace"] == metadata["namespace"])

    own_jobs = tuple(
        job for job in carriers(around) if here(job.obj) and controller_uid(job.obj) == uid
    )
    owners = {owner for job in own_jobs for owner in job.pod_owners}
    errands = tuple(
        errand
        for it in around.jobs
        if here(it) and controller_uid(it) == uid and (errand := parse_errand(it)) is not None
    )
    beside = [pod for pod in around.pods if label_of(pod, ROLE_LABEL) in ERRANDS]
    own_pods = [
        parse_pod(it) for it in around.pods if here(it) and label_of(it, ROLE_LABEL) not in ERRANDS
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
                (pod for pod in own_pods if pod.job_uid in owners or pod.alive),
                key=lambda pod: (pod.created, pod.name),
            )
        ),
        namesakes=tuple(
            pod
            for it in around.namesakes
            if here(it) and label_of(it, UID_LABEL) != uid and (pod := parse_pod(it)).alive
        ),
        report=report if report and report.run.uid == uid else None,
        notes=around.notes,
        admission=around.admission,
        kueue=around.kueue,
        platform=around.platform,
        now=around.now,
        rerun_token=annotations.get(RERUN_ANNOTATION),
        retrain_token=annotations.get(RETRAIN_ANNOTATION),
        errands=errands,
        taken=around.taken,
        jobset=around.jobset,
        errand_pods=tuple(
            sorted(
                (parse_pod(pod) for pod in beside if here(pod)),
                key=lambda pod: (pod.created, pod.name),
            )
        ),
    )


def is_building(observed: AnyObserved) -> bool:
    """Whether the run that the status tells of has no end there yet, and the spec is still its."""
    previous = observed.previous
    if tell_an_end(previous.conditions) or previous.observed_generation != observed.generation:
        return False
    told = (previous.revision, previous.attempt)
    return any(not job.deleting for job in observed.jobs if (job.revision, job.attempt) == told)


def parse_spec(model: type[ModelT], obj: Obj) -> tuple[ModelT | None, str]:
    """The spec, or why it can't be read: the first wrong field and what is wrong with it.

    Fields of newer CRDs are ignored: their defaults stand in everything that is stored.
    """
    return _SPECS.read(model, obj, obj.get("spec") or {}, _spec)


def _spec(model: type[ModelT], spec: Obj) -> tuple[ModelT | None, str]:
    try:
        return model.read(spec), ""
    except ValidationError as error:
        where, problem = first_error(error)
        return None, f"{'.'.join(filter(None, ('spec', where)))}: {problem}"


def parse_status(model: type[ModelT], obj: Obj) -> ModelT:
    """The status; what another version wrote otherwise is left out, not the whole."""
    return _STATUSES.read(model, obj, obj.get("status") or {}, readable_part)


def parse_any_status(resource: Resource, obj: Obj) -> RunStatus:
    """The status of a resource of any kind."""
    model = KINDS[resource.kind].status_model()
    status = parse_status(model, obj)
    assert isinstance(status, RunStatus)
    return status


def parse_pod(obj: Obj) -> Pod:
    """A pod of the store."""
    metadata, status = obj["metadata"], obj["status"]
    state: dict[str, Any] = {}
    for container in status.get("containerStatuses") or []:
        if container["name"] == CONTAINER:
            state = container.get("state") or {}
    conditions = {it["type"]: it for it in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled") or {}
    waiting, running = state.get("waiting"), state.get("running")
    ended = state.get("terminated") or {}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=controller_uid(obj),
        phase=status.get("phase", "Pending"),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        gone_by=metadata.get("deletionTimestamp"),
        disrupted=(conditions.get("DisruptionTarget") or {}).get("status") == "True",
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
        index=index_of(obj),
    )


def index_of(pod: Obj) -> int:
    """Which part of its run a pod is; 0, the one that stands for the run, where no label of the Job
    controller's says another. -1: what the label says is no index."""
    text = label_of(pod, INDEX_LABEL)
    if text is None:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def parse_result(model: type[ModelT], message: str) -> ModelT | None:
    """A trainer's result; None for a container that died without one."""
    try:
        return readable_part_json(model, message)
    except ValueError:  # pydantic's, too
        return None
