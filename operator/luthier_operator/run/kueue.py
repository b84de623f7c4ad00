"""What Kueue says of a queued run, and what it is told: by its Workload. Pure.

Kueue suspends and resumes the Job; who wants a queued run to stop says so in the Workload's
`spec.active` (https://kueue.sigs.k8s.io/docs/concepts/workload/#active).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from luthier_api import reasons
from luthier_operator.conditions import reason_or
from luthier_operator.resources import SUSPENDED_ANNOTATION, Obj, Resource


@dataclass(frozen=True)
class Admission:
    """Kueue's Workload of a run, as far as it is read."""

    resource: Resource  # of the version that is served
    obj: Obj
    active: bool
    deactivated_by_us: bool
    conditions: Mapping[str, Obj]  # by type


def parse_admission(resource: Resource, obj: Obj) -> Admission:
    """A Workload of the store."""
    annotations = obj["metadata"].get("annotations") or {}
    conditions = (obj.get("status") or {}).get("conditions") or []
    return Admission(
        resource=resource,
        obj=obj,
        active=(obj.get("spec") or {}).get("active", True) is not False,
        deactivated_by_us=SUSPENDED_ANNOTATION in annotations,
        conditions={str(condition.get("type", "")): condition for condition in conditions},
    )


def activate(admission: Admission, active: bool) -> Obj:
    """Changes of the Workload; empty where it is so, or where somebody else deactivated it."""
    if active == admission.active or (active and not admission.deactivated_by_us):
        return {}
    mark = {SUSPENDED_ANNOTATION: None if active else "true"}
    return {"metadata": {"annotations": mark}, "spec": {"active": active}}


def explain(queue: str, admission: Admission | None, *, installed: bool | None) -> tuple[str, str]:
    """Reason and message of a run that Kueue holds back."""
    if installed is False:
        return (
            reasons.KUEUE_NOT_INSTALLED,
            f"Nobody admits runs of queue {queue} here. Remove spec.placement.queueName, or ask "
            "the platform team to install Kueue.",
        )
    if admission is None:
        return reasons.QUEUED, f"Waits for Kueue to see it in queue {queue}."
    if not admission.active and not admission.deactivated_by_us:
        return (
            reasons.DEACTIVATED,
            f"Queue {queue}: somebody set spec.active of the Job's Workload to false, and has to "
            "set it to true again.",
        )
    waits = _waits(queue, admission)
    evicted = admission.conditions.get("Evicted") or {}
    if evicted.get("status") == "True" and evicted.get("reason") == "Preempted":
        return (
            reasons.PREEMPTED,
            f"Queue {queue}: {_message(evicted)} It comes again. {waits[1]}".strip(),
        )
    return waits


_UNSEEN = "Kueue hasn't looked at it yet."


def _waits(queue: str, admission: Admission) -> tuple[str, str]:
    reserved = admission.conditions.get("QuotaReserved") or {}
    admitted = admission.conditions.get("Admitted") or {}
    message = _message(reserved)
    lowered = message.lower()
    if reserved.get("status") == "True":
        if admitted.get("status") == "True":
            return reasons.ADMITTED, f"Queue {queue}: Kueue starts it."
        checks = _message(admitted) or "Its admission checks aren't all passed yet."
        return reasons.WAITING_FOR_ADMISSION_CHECKS, f"Queue {queue}: {checks}"
    if "localqueue" in lowered and "exist" in lowered:
        return (
            reasons.QUEUE_NOT_FOUND,
            f"Queue {queue}: {message} Create the LocalQueue in the namespace, or correct "
            "spec.placement.queueName.",
        )
    if "clusterqueue" in lowered and ("exist" in lowered or "inactive" in lowered):
        return reasons.QUEUE_NOT_READY, f"Queue {queue}: {message} Ask the platform team."
    if "stopped" in lowered or "hold" in lowered.split():
        return reasons.QUEUE_STOPPED, f"Queue {queue}: {message} Ask the platform team."
    if "quota" in lowered or "flavor" in lowered:
        exceeds = "more than" in lowered or "exceed" in lowered or "maximum capacity" in lowered
        reason = reasons.QUOTA_TOO_SMALL if exceeds else reasons.WAITING_FOR_QUOTA
        return reason, f"Queue {queue}: {message}"
    if reserved.get("reason") == "Inadmissible":
        return reasons.INADMISSIBLE, f"Queue {queue}: {message}"
    reason = reason_or(str(reserved.get("reason") or ""), reasons.QUEUED)
    return reason, f"Queue {queue}: {message or _UNSEEN}"


def _message(condition: Obj) -> str:
    text = str(condition.get("message") or "").strip()
    return text if not text or text.endswith(".") else f"{text}."
