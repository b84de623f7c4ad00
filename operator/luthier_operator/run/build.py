"""Order and pool → the objects of a run. Pure: the same input gives the same objects."""

import hashlib

from luthier_api import API_VERSION, terms
from luthier_api.placement import Limits
from luthier_api.platform import Platform, Pool
from luthier_api.runsettings import RunSettings
from luthier_api.runspec import (
    CA_PATH,
    RUNSPEC_ANNOTATION,
    RUNSPEC_PATH,
    ProgressTarget,
    RunIdentity,
    RunOrder,
    S3Access,
    write_order,
)
from luthier_api.sources import Reads
from luthier_operator.resources import (
    ATTEMPT_LABEL,
    KIND_LABEL,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    POOL_ANNOTATION,
    PRIORITY_LABEL,
    QUEUE_LABEL,
    REVISION_LABEL,
    ROLE_LABEL,
    SETTINGS_ANNOTATION,
    UID_LABEL,
    Obj,
)
from luthier_operator.run import drift, failure_policy
from luthier_operator.run.adoption import marked
from luthier_operator.run.memo import PARSED, Once
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.nodes import LONGEST_NAME, job_set, master_of
from luthier_operator.run.pod import pod_spec
from luthier_operator.run.workload import RUN

# All annotations of an object share 256 KiB; a larger run spec goes in a ConfigMap.
ANNOTATION_BYTES = 200 * 1024
# Asked at each look at a run.
_MADE_OF: Once[dict[str, str]] = Once(PARSED)
RUNSPEC_KEY = RUNSPEC_PATH.rsplit("/", 1)[1]


def job_name(owner: Owner, revision: Revision, nodes: int = 1) -> str:
    """`<name>-<8 hex digits>`, at most 63 characters, for several nodes fewer (nodes.py); another
    one for every uid and attempt."""
    seed = f"{owner.uid}/{revision.name}/{revision.attempt}"
    digest = hashlib.sha256(seed.encode()).hexdigest()[:8]
    most = (LONGEST_NAME if nodes > 1 else 63) - len(digest) - 1
    return f"{owner.name.replace('.', '-')[:most].rstrip('-')}-{digest}"


def pool_of(owner: Owner, spec: RunSettings, platform: Platform) -> Pool:
    """The run's pool, which must have been checked (policy.py). Raises LookupError without one."""
    name = terms.pool_name(spec.placement, owner.namespace, platform)
    pool = platform.pool(name)
    if pool is None:
        raise LookupError(f"no pool {name!r}")
    return pool


def made_of(owner: Owner, spec: RunSettings, platform: Platform) -> dict[str, str]:
    """What a run's pod is made of (drift.py). Raises LookupError without its pool."""

    def make() -> dict[str, str]:
        access = platform.for_namespace(owner.namespace)
        return drift.settings_of(
            spec,
            pool_of(owner, spec, platform),
            queued=terms.queue_of(spec, owner.namespace, platform) is not None,
            secret=spec.storage.secret_name or access.storage_secret_name,
            service_account=spec.storage.service_account_name or access.service_account_name,
            tracking=terms.tracking_of(spec, owner.namespace, platform),
        )

    return _MADE_OF.of(spec, platform, names=(owner.namespace,), make=make)


def output_of(owner: Owner, spec: RunSettings, revision: Revision) -> str:
    """The folder of a revision's result: the only place that its run may name."""
    return "/".join((spec.output.uri.rstrip("/"), owner.namespace, owner.name, revision.name))


def run_order(
    owner: Owner,
    spec: RunSettings,
    revision: Revision,
    platform: Platform,
    pool: Pool | None = None,
) -> RunOrder:
    """What the trainer is told, whatever it makes. It never holds a secret. `pool`: where it runs,
    if not in the run's own."""
    storage, pool = platform.storage, pool or pool_of(owner, spec, platform)
    nodes = spec.placement.nodes
    return RunOrder(
        run=RunIdentity.model_validate(
            {
                "kind": owner.resource.kind,
                "namespace": owner.namespace,
                "name": owner.name,
                "uid": owner.uid,
                "revision": revision.name,
                "attempt": revision.attempt,
            }
        ),
        shape_hash=revision.shape_hash,
        output=output_of(owner, spec, revision),
        storage=S3Access(
            endpoint=storage.endpoint,
            region=storage.region,
            path_style=storage.path_style,
            ca_file=CA_PATH if pool.ca else None,
            retry_seconds=pool.storage_retry_seconds,
        ),
        progress=(
            ProgressTarget(
                url=platform.progress_url,
                interval_seconds=platform.progress_interval_seconds,
            )
            if platform.progress_url
            else None
        ),
        gpus=spec.placement.gpus,
        nodes=nodes,
        master=master_of(job_name(owner, revision, nodes)) if nodes > 1 else None,
        grace_seconds=pool.termination_grace_period_seconds,
        file_roots=pool.file_roots,
        hub_endpoint=platform.hub.endpoint,
    )


def build_run(
    owner: Owner,
    spec: RunSettings,
    revision: Revision,
    platform: Platform,
    *,
    order: RunOrder,
    reads: Reads,
    workers: int | None = None,
) -> list[Obj]:
    """The objects of a run in the order of their creation; the Job, or JobSet, comes last.

    `workers`: pods that work beside each other, each with an index of its own. Raises LookupError
    for an unknown pool.
    """
    access, pool = platform.for_namespace(owner.namespace), pool_of(owner, spec, platform)
    text = write_order(order)
    fits = len(text.encode()) <= ANNOTATION_BYTES
    nodes = spec.placement.nodes
    tracking = terms.tracking_of(spec, owner.namespace, platform)
    name = job_name(owner, revision, nodes)
    labels = _labels(owner, revision)
    pod = pod_spec(
        pool,
        config_map=None if fits else name,
        runspec_key=RUNSPEC_KEY,
        secret=spec.storage.secret_name or access.storage_secret_name,
        service_account=spec.storage.service_account_name or access.service_account_name,
        hub_token=reads.hub_token,
        trackers={name: ref for name, _, ref in tracking.credentials()} if tracking else {},
        claims=reads.claims(),
        config_maps=reads.config_maps(),
        optional=reads.optional,
        gpus=spec.placement.gpus,
        reports=order.progress is not None,
    )
    metadata: Obj = {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels,
        "ownerReferences": [owner_reference(owner)],
    }
    queue = terms.queue_of(spec, owner.namespace, platform)
    template: Obj = {
        "metadata": {"labels": labels, "annotations": {RUNSPEC_ANNOTATION: text} if fits else {}},
        "spec": pod,
    }
    own_metadata: Obj = {
        **metadata,
        "labels": labels | _kueue(queue, spec.placement.priority),
        "annotations": {
            POOL_ANNOTATION: pool.name,
            SETTINGS_ANNOTATION: drift.format_settings(made_of(owner, spec, platform)),
        },
    }
    limits = terms.limits_of(spec, owner.namespace, platform)
    # Kueue starts what is queued; from then on `suspend` is Kueue's.
    suspend = queue is not None
    carrier = (
        job_set(own_metadata, template, nodes, limits, suspend=suspend)
        if nodes > 1
        else _job(own_metadata, template, workers, limits, suspend=suspend)
    )
    if fits:
        return [marked(carrier)]
    config_map: Obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": {RUNSPEC_KEY: text},
    }
    return [marked(config_map), marked(carrier)]


def _job(
    metadata: Obj, template: Obj, workers: int | None, limits: Limits, *, suspend: bool
) -> Obj:
    spec: Obj = {
        "completions": workers or 1,
        "parallelism": workers or 1,
        "backoffLimit": limits.max_restarts,
        # Two pods of a run, or of an index of it, never overlap: the next one comes when the
        # last has ended.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": failure_policy.of_job(),
        "suspend": suspend,
        "template": template,
    }
    if workers is not None:
        spec["completionMode"] = "Indexed"
    if limits.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = limits.active_deadline_seconds
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def name_label(name: str) -> str:
    """A name as a label, for people: one holds 63 characters, a name up to 253."""
    return name[:63].rstrip("-.")


def _labels(owner: Owner, revision: Revision) -> dict[str, str]:
    return {
        KIND_LABEL: owner.resource.kind,
        NAME_LABEL: name_label(owner.name),
        UID_LABEL: owner.uid,
        REVISION_LABEL: revision.name,
        ATTEMPT_LABEL: str(revision.attempt),
        ROLE_LABEL: RUN,
        MANAGED_BY_LABEL: "luthier",
    }


def _kueue(queue: str | None, priority: str | None) -> dict[str, str]:
    if queue is None:
        return {}
    return {QUEUE_LABEL: queue} | ({PRIORITY_LABEL: priority} if priority else {})


def owner_reference(owner: Owner) -> Obj:
    """Of an object that goes with its resource."""
    return _reference(API_VERSION, owner.resource.kind, owner.name, owner.uid)


def handed_over(config_map: Obj, job: Obj) -> Obj:
    """Changes of a run spec's ConfigMap, both as created: it goes with its Job, or JobSet, not
    later.

    It must be there before the Job's pod, and until then the resource owns it.
    """
    owner = job["metadata"]
    reference = _reference(job["apiVersion"], job["kind"], owner["name"], owner["uid"])
    uid = config_map["metadata"]["uid"]
    return {"metadata": {"uid": uid, "ownerReferences": [reference]}}


def _reference(version: str, kind: str, name: str, uid: str) -> Obj:
    return {
        "apiVersion": version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
