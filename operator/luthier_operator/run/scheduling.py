"""One explanation for everything that holds a run back. Pure."""

import re
from dataclasses import dataclass

from luthier_operator.conditions import reason_or
from luthier_operator.errors import creation_reason
from luthier_operator.resources import Obj
from luthier_operator.run.model import AnyObserved, Job, Pod

IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "RegistryUnavailable",
)


@dataclass(frozen=True)
class Scheduling:
    """Whether a pod of the run has its place, and why not."""

    scheduled: bool
    reason: str
    message: str = ""


# The first second of every run: one reason for all of it, so that it costs one write.
WAITING = Scheduling(False, "WaitingForPod", "The run's pod isn't on a node yet.")


def explain(observed: AnyObserved, job: Job, pod: Pod | None) -> Scheduling:
    """From the outside in: the queue, the pod's creation, its node, its container."""
    if job.queue is not None and job.suspended:
        return _queued(job.queue, observed.workload)
    if pod is None:
        return _no_pod(job, observed.notes)
    if pod.node is None:
        if pod.unschedulable:
            return _unschedulable(pod.unschedulable)
        return WAITING
    if pod.waiting and (held := _waiting(pod, *pod.waiting)):
        return held
    if not pod.started and (mount := _first(observed.notes, ("FailedMount", "FailedAttachVolume"))):
        return _unmounted(mount)
    return Scheduling(True, "Scheduled", f"Pod {pod.name} is on node {pod.node}.")


def _queued(queue: str, workload: Obj | None) -> Scheduling:
    conditions = ((workload or {}).get("status") or {}).get("conditions") or []
    for kind in ("Evicted", "QuotaReserved", "Admitted"):
        for condition in conditions:
            holds = condition["status"] == ("True" if kind == "Evicted" else "False")
            if condition["type"] == kind and holds:
                reason = reason_or(condition.get("reason", ""), "Queued")
                return Scheduling(False, reason, f"Queue {queue}: {condition.get('message', '')}")
    return Scheduling(False, "Queued", f"Waits for Kueue to admit it from queue {queue}.")


def _no_pod(job: Job, notes: tuple[str, ...]) -> Scheduling:
    if job.suspended:
        return Scheduling(False, "Suspended", "The run's Job is suspended.")
    if refused := _first(notes, ("FailedCreate",)):
        # The name is another one at each try: each would be a change of status.
        return Scheduling(
            False, creation_reason(refused), re.sub(r'pods "[^"]*"', "its pod", refused)
        )
    return WAITING


def _waiting(pod: Pod, reason: str, message: str) -> Scheduling | None:
    if reason in IMAGE_REASONS:
        return Scheduling(False, "ImagePullFailed", f"{reason}: {message}")
    if reason == "CreateContainerConfigError":
        lowered = message.lower()
        kind = (
            "SecretNotFound"
            if lowered.startswith("secret ") and "not found" in lowered
            else "SecretKeyNotFound"
            if "in secret" in lowered
            else "ConfigMapNotFound"
            if "configmap" in lowered
            else reason
        )
        return Scheduling(False, kind, f"Pod {pod.name}: {message}. Create it in the namespace.")
    if reason in ("CreateContainerError", "RunContainerError"):
        return Scheduling(False, reason, f"Pod {pod.name}: {message}")
    return None


def _unschedulable(message: str) -> Scheduling:
    """The scheduler's words; a claim that isn't there is the user's to make, no node's fault."""
    if re.search(r'persistentvolumeclaim "[^"]*" not found', message):
        remedy = "Create it in the namespace, or correct the name in the URI (pvc://CLAIM/PATH)."
        return Scheduling(False, "ClaimNotFound", f"{message.rstrip('.')}. {remedy}")
    return Scheduling(False, "Unschedulable", message)


def _unmounted(message: str) -> Scheduling:
    for kind, reason in (("configmap", "ConfigMapNotFound"), ("secret", "SecretNotFound")):
        if re.search(rf'{kind} "[^"]*" not found', message):
            return Scheduling(False, reason, f"{message}. Create it in the namespace.")
    if "references non-existent config key" in message:
        remedy = "Add the key to the ConfigMap, or correct it in the spec."
        return Scheduling(False, "ConfigMapKeyNotFound", f"{message}. {remedy}")
    return Scheduling(False, "VolumeMountFailed", message)


def _first(notes: tuple[str, ...], reasons: tuple[str, ...]) -> str:
    for note in notes:
        reason, _, text = note.partition(": ")
        if reason in reasons:
            return text
    return ""
