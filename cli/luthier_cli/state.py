"""What a resource's status means. Pure: plain dicts in, answers out."""

from typing import Any, Literal

Resource = dict[str, Any]
Outcome = Literal["Complete", "Failed"]

# Conditions that warn, and the status in which they do.
WARNINGS = {
    "Overfitting": "True",
    "ResumeExact": "False",
    "AdaptersCompatible": "False",
    "Promoted": "False",
    "Kept": "False",
}

RETRY_ANNOTATION = "luthier.dev/retry"
RETRAIN_ANNOTATION = "luthier.dev/retrain"


def status_of(resource: Resource) -> dict[str, Any]:
    """The status; empty before the operator has seen the resource."""
    return resource.get("status") or {}


def condition(resource: Resource, kind: str) -> dict[str, Any] | None:
    """The condition of that type, if it is about the present spec."""
    generation = resource["metadata"].get("generation", 0)
    for item in status_of(resource).get("conditions", []):
        if item["type"] == kind and item.get("observedGeneration", generation) >= generation:
            return dict(item)
    return None


def stage(resource: Resource) -> str | None:
    """What the trainer is doing, as it says."""
    status = status_of(resource)
    found = status.get("stage") or (status.get("progress") or {}).get("stage")
    return str(found) if found else None


def gated_metric(resource: Resource) -> str | None:
    """The metric that the gates of an OptimizeJob are about."""
    spec = resource.get("spec") or {}
    found = (spec.get("gates") or {}).get("metric")
    return str(found) if found else None


def holds(resource: Resource, kind: str) -> bool:
    """Whether a condition is True of the present spec."""
    found = condition(resource, kind)
    return found is not None and found["status"] == "True"


def retry_pending(resource: Resource) -> bool:
    """Whether a retry was asked for that the operator hasn't taken up yet."""
    token = (resource["metadata"].get("annotations") or {}).get(RETRY_ANNOTATION)
    return bool(token) and token != status_of(resource).get("retryToken")


def retrain_pending(resource: Resource) -> bool:
    """Whether a look at the data was asked for whose outcome isn't known yet, and will be."""
    token = (resource["metadata"].get("annotations") or {}).get(RETRAIN_ANNOTATION)
    status = status_of(resource)
    if not token or token == (status.get("retrain") or {}).get("token"):
        return False
    if (resource.get("spec") or {}).get("suspend") or not status.get("inUse"):
        return False
    return holds(resource, "Failed") or not holds(resource, "Stalled")


def outcome(resource: Resource) -> Outcome | None:
    """How the run of the present spec ended; None while it may still go on by itself."""
    if retrain_pending(resource):
        return None
    if holds(resource, "Complete"):
        return "Complete"
    if retry_pending(resource):
        return None
    if holds(resource, "Failed") or holds(resource, "Stalled"):
        return "Failed"
    return None


def cause(resource: Resource) -> tuple[str, str]:
    """Reason and message of what ended the run, or of what holds it back."""
    for kind, status in (
        ("Complete", "True"),
        ("Failed", "True"),
        ("Stalled", "True"),
        ("Suspended", "True"),
        ("Scheduled", "False"),
        ("SourceReady", "False"),
        ("AdaptersReady", "False"),
        ("DatasetValid", "False"),
    ):
        found = condition(resource, kind)
        if found and found["status"] == status:
            return found["reason"], found.get("message", "")
    return "", ""


def warnings(resource: Resource) -> list[str]:
    """What was noticed, and the run goes on with."""
    return [
        f"{kind}: {found.get('message', '')}"
        for kind, status in WARNINGS.items()
        if (found := condition(resource, kind)) and found["status"] == status
    ]
