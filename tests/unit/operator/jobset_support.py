"""Runs of several nodes: their JobSet, the Job that it makes, and its pods."""

from typing import Any

from unit.operator.builders import OWNER, observed, platform, pod_of, resource, spec

from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.resources import INDEX_LABEL, JOB_SET_LABEL, JOB_SETS, JOBS, Obj
from luthier_operator.run.model import Revision
from luthier_operator.store import trim

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)
PLATFORM = platform(maxNodes=4)
TWO = {"placement": {"nodes": 2}}
CREATED = "2026-01-02T03:00:00Z"


def built(**fields: Any) -> Obj:
    """As it is created."""
    return build(OWNER, spec(**(TWO | fields)), FIRST, PLATFORM)[-1]


def job_set_of(
    *,
    end: str | None = None,
    reason: str = "",
    suspend: bool = False,
    resumed: str | None = None,
    counted: int = 0,
    uncounted: int = 0,
    **fields: Any,
) -> Obj:
    """The JobSet of the first revision. `end`: Completed or Failed; `resumed`: when."""
    made = built(**fields)
    conditions = []
    if end:
        conditions.append(condition(end, "True", reason, "2026-01-02T03:04:00Z"))
    if resumed:
        conditions.append(condition("Suspended", "False", "ResumeJobs", resumed))
    own = {"uid": "job-set", "resourceVersion": "1", "creationTimestamp": CREATED}
    return trim(
        JOB_SETS,
        {
            "metadata": made["metadata"] | own,
            "spec": made["spec"] | {"suspend": suspend},
            "status": {
                "conditions": conditions,
                "restarts": counted + uncounted,
                "restartsCountTowardsMax": counted,
            },
        },
    )


def inner_of(
    job_set: Obj,
    *,
    began: str | None = CREATED,
    deadline: int | None = None,
    failed: tuple[str, str] | None = None,
    uid: str = "inner",
) -> Obj:
    """The Job that it made. `failed`: reason and message."""
    template = built()["spec"]["replicatedJobs"][0]["template"]
    conditions = [condition("Failed", "True", *failed, CREATED)] if failed else []
    metadata = {
        "namespace": "team",
        "name": f"{job_set['metadata']['name']}-node-0",
        "uid": uid,
        "resourceVersion": "1",
        "creationTimestamp": began or CREATED,
        "labels": template["metadata"]["labels"] | {JOB_SET_LABEL: job_set["metadata"]["name"]},
        "ownerReferences": [{"uid": job_set["metadata"]["uid"], "controller": True}],
    }
    own = {"activeDeadlineSeconds": deadline} if deadline is not None else {}
    status = {"conditions": conditions} | ({"startTime": began} if began else {})
    return trim(JOBS, {"metadata": metadata, "spec": template["spec"] | own, "status": status})


def node_of(inner: Obj, index: int, **fields: Any) -> Obj:
    """The pod of that index."""
    pod = pod_of(inner, f"pod-{index}", **fields)
    pod["metadata"]["labels"] = pod["metadata"]["labels"] | {INDEX_LABEL: str(index)}
    return pod


def seen(
    job_set: Obj | None = None,
    inner: Obj | None = None,
    pods: list[Obj] | None = None,
    *,
    status: Obj | None = None,
    **changes: Any,
) -> Observed:
    """What a reconciliation of a resource with two nodes sees. `changes`: of the spec, and of what
    is observed where it has that field."""
    fields = {name: it for name, it in changes.items() if name in ("jobset", "notes", "now")}
    own = {name: it for name, it in changes.items() if name not in fields}
    return observed(
        resource(status=status, **(TWO | own)),
        job_sets=[job_set] if job_set else [],
        jobs=[inner] if inner else [],
        pods=pods or [],
        **({"platform": PLATFORM, "jobset": True} | fields),
    )


def condition(kind: str, status: str, reason: str, *rest: str) -> Obj:
    """Of a Job or JobSet; `rest`: the message, if any, and the time."""
    *message, time = rest
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "".join(message),
        "lastTransitionTime": time,
    }
