"""Errands: small Jobs beside a resource's runs, such as a look at its data. Pure.

An errand isn't an attempt at the resource's result: its Job has a role of its own, is counted
nowhere, and goes when what it came to is on record. What it is about stands in its name, so it
happens once, whoever asks how often (docs/adr/0020).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from luthier_api import terms
from luthier_api.platform import Platform, Pool
from luthier_api.result import RunEnd
from luthier_api.runsettings import RunSettings
from luthier_api.runspec import RUNSPEC_ANNOTATION, RunOrder, write_order
from luthier_api.sources import Reads
from luthier_operator.conditions import Conditions
from luthier_operator.errors import Refusal
from luthier_operator.resources import (
    ERRAND_ANNOTATION,
    JOBS,
    KIND_LABEL,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    ROLE_LABEL,
    UID_LABEL,
    Obj,
)
from luthier_operator.run import failure_policy
from luthier_operator.run.actions import Delete, Ensure
from luthier_operator.run.adoption import marked
from luthier_operator.run.build import (
    ANNOTATION_BYTES,
    RUNSPEC_KEY,
    name_label,
    owner_reference,
    run_order,
)
from luthier_operator.run.model import AnyObserved, Errand, JobEnd, Owner, Revision
from luthier_operator.run.observe import parse_result
from luthier_operator.run.pod import pod_spec
from luthier_operator.run.workload import KEEP, PROBE

# Pods of an errand that may fail before it does.
_RESTARTS = 2
# One that outlives its resource goes by itself after that, if nobody else takes it away.
_OUTLIVES_SECONDS = 3600
# How long a pod's word is waited for, and how often it is looked for.
_WORD = timedelta(seconds=30)
WORD_SECONDS = 2.0
# What an errand reads that is about storage alone.
NOTHING = Reads()
# The condition that says of an errand that there is none, and what it would be.
REFUSED = "ErrandRefused"
_MEANS = {PROBE: "for a look at the data", KEEP: "that keeps storage in order"}

ResultT = TypeVar("ResultT", bound=RunEnd)


@dataclass(frozen=True)
class Wanted:
    """An errand that is to be run. `about`: what makes it another one than the last, e.g. a time
    of the schedule."""

    role: str
    about: str
    order: RunOrder
    reads: Reads


def find(observed: AnyObserved, role: str, about: str) -> Errand | None:
    """The errand that is on its way, or has ended."""
    return next((it for it in observed.errands if (it.role, it.about) == (role, about)), None)


def ensure(observed: AnyObserved, wanted: Wanted) -> Ensure:
    """Create its Job. Raises LookupError without a pool for it."""
    spec = observed.spec
    assert spec is not None
    return Ensure(errand_job(observed.owner, spec, observed.platform, wanted))


def done(errand: Errand, why: str) -> Delete:
    """Take its Job away: what it came to is on record, or nobody asks any more."""
    return Delete(JOBS, errand.obj, why)


def result_of(observed: AnyObserved, errand: Errand, model: type[ResultT]) -> ResultT | None:
    """What its newest pod said at its end."""
    told = (
        parse_result(model, pod.message)
        for pod in reversed(observed.errand_pods)
        if pod.job_uid == errand.uid and pod.message
    )
    return next((it for it in told if it is not None), None)


def tell(conditions: Conditions, unsent: Mapping[str, Refusal]) -> None:
    """The condition about errands whose Job the API server didn't take, by role; none otherwise."""
    for role, refusal in unsent.items():
        what = f"The Job {_MEANS.get(role, 'beside the run')} isn't created"
        message = f"{what}: {refusal.message.rstrip('.')}. It is tried again."
        conditions.set(REFUSED, True, refusal.reason, message)


def has_no_word_yet(observed: AnyObserved, end: JobEnd) -> bool:
    """Whether the result of one that has ended may still come: a Job's end may be seen before its
    pod's, which holds it."""
    try:
        ended = datetime.fromisoformat(end.time)
    except ValueError:
        return False
    return observed.now < ended + _WORD


def order_fields(
    owner: Owner, spec: RunSettings, revision: Revision, platform: Platform, role: str
) -> dict[str, Any]:
    """What the order of any errand says. Raises LookupError without a pool for it."""
    pool = _pool(owner, spec, platform)
    common = dict(run_order(owner, spec, revision, platform, pool))
    alone = {"gpus": 0, "nodes": 1, "master": None}
    return common | {"role": role, "progress": None, **alone}


def errand_job(
    owner: Owner, spec: RunSettings, platform: Platform, wanted: Wanted, *, outlives: bool = False
) -> Obj:
    """The Job of an errand, in a pool without GPUs, with the tenant's credentials.

    `outlives`: it isn't deleted with its resource, which waits for it.

    Raises LookupError without a pool, ValueError where the order is too large.
    """
    pool = _pool(owner, spec, platform)
    order = write_order(wanted.order)
    if len(order.encode()) > ANNOTATION_BYTES:
        raise ValueError("the order is too large for an annotation")
    access = platform.for_namespace(owner.namespace)
    labels = {
        KIND_LABEL: owner.resource.kind,
        NAME_LABEL: name_label(owner.name),
        UID_LABEL: owner.uid,
        ROLE_LABEL: wanted.role,
        MANAGED_BY_LABEL: "luthier",
    }
    pod = pod_spec(
        _modest(pool, platform),
        config_map=None,
        runspec_key=RUNSPEC_KEY,
        secret=spec.storage.secret_name or access.storage_secret_name,
        service_account=spec.storage.service_account_name or access.service_account_name,
        hub_token=wanted.reads.hub_token,
        claims=wanted.reads.claims(),
        config_maps=wanted.reads.config_maps(),
        optional=wanted.reads.optional,
        gpus=0,
        reports=False,
    )
    return marked(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": job_name(owner, wanted.role, wanted.about),
                "namespace": owner.namespace,
                "labels": labels,
                "annotations": {ERRAND_ANNOTATION: wanted.about},
                **({} if outlives else {"ownerReferences": [owner_reference(owner)]}),
            },
            "spec": {
                **({"ttlSecondsAfterFinished": _OUTLIVES_SECONDS} if outlives else {}),
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": _RESTARTS,
                "activeDeadlineSeconds": platform.errands.deadline_seconds,
                "podReplacementPolicy": "Failed",
                "podFailurePolicy": failure_policy.of_job(),
                "template": {
                    "metadata": {
                        "labels": labels,
                        "annotations": {RUNSPEC_ANNOTATION: order},
                    },
                    "spec": pod,
                },
            },
        }
    )


def job_name(owner: Owner, role: str, about: str) -> str:
    """`<name>-<role>-<8 hex digits>`, at most 63 characters."""
    digest = hashlib.sha256(f"{owner.uid}/{role}/{about}".encode()).hexdigest()[:8]
    stem = owner.name.replace(".", "-")[: 53 - len(role)].rstrip("-")
    return f"{stem}-{role}-{digest}"


def _pool(owner: Owner, spec: RunSettings, platform: Platform) -> Pool:
    pool = terms.errand_pool(spec.placement, owner.namespace, platform)
    if pool is None:
        raise LookupError("no pool for errands")
    return pool


def _modest(pool: Pool, platform: Platform) -> Pool:
    """The pool, with what an errand needs of it."""
    return pool.model_copy(update={"resources": platform.errands.resources, "shared_memory": None})
