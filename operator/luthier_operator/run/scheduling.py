"""One explanation for everything that holds a run back. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime

from luthier_api import reasons
from luthier_api.platform import Pool
from luthier_operator.errors import creation_reason
from luthier_operator.run import kueue
from luthier_operator.run.model import AnyObserved, Job, Pod

IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "RegistryUnavailable",
)
# Reasons of Events: no object says so itself.
_UNMADE = ("FailedCreate", "JobCreationFailed", "HeadlessServiceCreationFailed")
_UNMOUNTED = ("FailedMount", "FailedAttachVolume")
TOLD_BY_EVENTS = frozenset((*_UNMADE, *_UNMOUNTED))

# A kubelet may be busy: a pod that is so much overdue is on a node that doesn't answer.
TERMINATING_PATIENCE_SECONDS = 60.0
# A node's clock that is no further ahead holds nothing up for long.
CLOCK_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Scheduling:
    """Whether a pod of the run has its place, and why not."""

    scheduled: bool
    reason: str
    message: str = ""


# The first second of every run: one reason for all of it, so that it costs one write.
WAITING = Scheduling(False, reasons.WAITING_FOR_POD, "The run's pod isn't on a node yet.")


def explain(observed: AnyObserved, job: Job, pod: Pod | None) -> Scheduling:
    """From the outside in: the queue, the pod's creation, its node, its container."""
    if job.queue is not None and job.suspended:
        admission, installed = observed.admission, observed.kueue
        return Scheduling(False, *kueue.explain(job.queue, admission, installed=installed))
    if pod is None:
        return _no_pod(observed, job)
    if pod.deleting and (lost := _terminating(pod, observed.now)):
        return lost
    if pod.node is None:
        if pod.unschedulable:
            return _unschedulable(pod.unschedulable, _pool_of(observed, job))
        return WAITING
    if pod.waiting and (held := _waiting(pod, *pod.waiting)):
        return held
    if not pod.started and (mount := _first(observed.notes, _UNMOUNTED)):
        return _unmounted(mount, _pool_of(observed, job))
    return Scheduling(True, reasons.SCHEDULED, f"Pod {pod.name} is on node {pod.node}.")


def until_overdue(observed: AnyObserved) -> float | None:
    """Seconds until a pod that is being deleted has had its time: nothing else wakes its run."""
    waits = [
        TERMINATING_PATIENCE_SECONDS - overdue
        for pod in observed.pods
        if pod.alive and (overdue := _overdue(pod, observed.now)) is not None
    ]
    return min((wait for wait in waits if wait > 0), default=None)


def _overdue(pod: Pod, now: datetime) -> float | None:
    try:
        return (now - datetime.fromisoformat(pod.gone_by or "")).total_seconds()
    except ValueError:
        return None


def _terminating(pod: Pod, now: datetime) -> Scheduling | None:
    """A pod on a node that is gone never ends, and no other takes its place before it does."""
    overdue = _overdue(pod, now)
    if overdue is None or overdue < TERMINATING_PATIENCE_SECONDS:
        return None
    return Scheduling(
        False,
        reasons.POD_TERMINATING,
        f"Pod {pod.name} was to end by {pod.gone_by} and hasn't: node {pod.node} may be lost. "
        "Once it is certain that the node is off, taint it with "
        f"`kubectl taint nodes {pod.node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute`"
        ", or delete the Node: the run then goes on elsewhere.",
    )


def _pool_of(observed: AnyObserved, job: Job) -> Pool | None:
    return observed.platform.pool(job.pool) if job.pool else None


def _no_pod(observed: AnyObserved, job: Job) -> Scheduling:
    if job.suspended:
        kind = job.resource.kind
        if observed.spec is None or not observed.spec.suspend:
            return Scheduling(
                False,
                reasons.SUSPENDED_ELSEWHERE,
                f"Somebody else suspended the run's {kind}, e.g. Kueue where it manages {kind}s "
                "without a queue, or a user with kubectl. Who did so has to resume it.",
            )
        return Scheduling(False, reasons.SUSPENDED, f"The run's {kind} is suspended.")
    if refused := _first(observed.notes, _UNMADE):
        # The name is another one at each try: each would be a change of status.
        return Scheduling(
            False, creation_reason(refused), re.sub(r'pods "[^"]*"', "its pod", refused)
        )
    return _clock_ahead(observed, job) or WAITING


def _clock_ahead(observed: AnyObserved, job: Job) -> Scheduling | None:
    """Kubernetes waits for some time from a pod's end until the next one, as its node told it;
    JobSet begins anew at once."""
    pods = observed.pods_of(job) if not job.together else []
    try:
        ahead = datetime.fromisoformat(pods[-1].finished or "") - observed.now if pods else None
    except ValueError:
        return None
    if ahead is None or ahead.total_seconds() < CLOCK_PATIENCE_SECONDS:
        return None
    return Scheduling(
        False,
        reasons.NODE_CLOCK_AHEAD,
        f"Pod {pods[-1].name} ended at {pods[-1].finished} by the clock of node {pods[-1].node}, "
        "which is ahead: until then Kubernetes starts no other. Correct the clock, then "
        f"`kubectl delete job {job.name} -n {observed.owner.namespace}`: a new one goes on from "
        "the last checkpoint.",
    )


def _waiting(pod: Pod, reason: str, message: str) -> Scheduling | None:
    if reason in IMAGE_REASONS:
        return Scheduling(False, reasons.IMAGE_PULL_FAILED, f"{reason}: {message}")
    if reason == "CreateContainerConfigError":
        lowered = message.lower()
        kind = (
            reasons.SECRET_NOT_FOUND
            if lowered.startswith("secret ") and "not found" in lowered
            else reasons.SECRET_KEY_NOT_FOUND
            if "in secret" in lowered
            else reasons.CONFIG_MAP_NOT_FOUND
            if "configmap" in lowered
            else reason
        )
        return Scheduling(False, kind, f"Pod {pod.name}: {message}. Create it in the namespace.")
    if reason in ("CreateContainerError", "RunContainerError"):
        return Scheduling(False, reason, f"Pod {pod.name}: {message}")
    return None


def _unschedulable(message: str, pool: Pool | None) -> Scheduling:
    """The scheduler's words; a claim that isn't there is somebody's to make, no node's fault."""
    found = re.search(r'persistentvolumeclaim "([^"]*)" not found', message)
    if found is None:
        return Scheduling(False, reasons.UNSCHEDULABLE, message)
    if pool is not None and found[1] in _claims_of(pool):
        remedy = _remedy_of(pool, "claim")
    else:
        remedy = "Create it in the namespace, or correct the name in the URI (pvc://CLAIM/PATH)."
    return Scheduling(False, reasons.CLAIM_NOT_FOUND, f"{message.rstrip('.')}. {remedy}")


def _claims_of(pool: Pool) -> set[str]:
    return {mount.claim for mount in pool.mounts} | {pool.cache_claim or ""}


def _remedy_of(pool: Pool, what: str) -> str:
    """What the pool mounts nobody's spec names: no correction of it would help."""
    return (
        f"Pool {pool.name} mounts this {what} in every run: ask the platform team for it in this "
        "namespace, or choose another pool (spec.placement.pool)."
    )


def _unmounted(message: str, pool: Pool | None) -> Scheduling:
    for kind, reason in (
        ("configmap", reasons.CONFIG_MAP_NOT_FOUND),
        ("secret", reasons.SECRET_NOT_FOUND),
    ):
        if found := re.search(rf'{kind} "([^"]*)" not found', message):
            # The kubelet names objects with their namespace.
            name = found[1].rpartition("/")[2]
            remedy = "Create it in the namespace."
            if kind == "configmap" and pool and pool.ca and pool.ca.name == name:
                remedy = _remedy_of(pool, "ConfigMap")
            return Scheduling(False, reason, f"{message}. {remedy}")
    if "references non-existent config key" in message:
        remedy = "Add the key to the ConfigMap, or correct it in the spec."
        if pool and pool.ca and 'volume "ca"' in message:
            remedy = _remedy_of(pool, f"key of the ConfigMap {pool.ca.name}")
        return Scheduling(False, reasons.CONFIG_MAP_KEY_NOT_FOUND, f"{message}. {remedy}")
    return Scheduling(False, reasons.VOLUME_MOUNT_FAILED, message)


def _first(notes: tuple[str, ...], reasons: tuple[str, ...]) -> str:
    for note in notes:
        reason, _, text = note.partition(": ")
        if reason in reasons:
            return text
    return ""
