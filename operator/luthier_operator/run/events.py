"""Transitions of a status that are worth an Event. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier_api.runstatus import RunStatus
from luthier_operator.conditions import find, is_true


@dataclass(frozen=True)
class Note:
    """An Event to be."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class ConditionEvent:
    """A condition of a kind's own that is worth an Event when it becomes so."""

    condition: str
    status: str = "True"
    reason: str = ""  # of the Event; left out: the condition's type
    prefix: str = ""
    warning: bool = False


def transitions(
    before: RunStatus, after: RunStatus, own: Sequence[ConditionEvent] = ()
) -> list[Note]:
    """What happened between two statuses of one resource."""
    notes: list[Note] = []
    new_run = (before.revision, before.attempt) != (after.revision, after.attempt)
    if before.revision and before.revision != after.revision and after.revision:
        text = f"Revision {before.revision} gives way to {after.revision}."
        notes.append(Note("Superseded", text))
    if after.job_name and (new_run or before.job_name != after.job_name):
        text = f"Job {after.job_name} for {after.revision}, attempt {after.attempt}."
        notes.append(Note("Created", text))

    def became(kind: str, status: str = "True") -> bool:
        condition, known = find(after.conditions, kind), find(before.conditions, kind)
        if condition is None or condition.status != status:
            return False
        return new_run or known is None or known.status != status

    def message(kind: str) -> str:
        condition = find(after.conditions, kind)
        return condition.message if condition else ""

    if became("Running"):
        if before.start_time and not new_run:
            notes.append(Note("Restarted", "The trainer runs again."))
        else:
            notes.append(Note("Started", "The trainer runs."))
    notes += _interruptions(before, after)
    notes += [
        Note(it.reason or it.condition, f"{it.prefix}{message(it.condition)}", it.warning)
        for it in own
        if became(it.condition, it.status)
    ]
    if after.in_use is not None and before.in_use is not None and _moved(before, after):
        text = f"{after.in_use.revision} is in use now, instead of {before.in_use.revision}."
        notes.append(Note("InUse", text))
    if became("Suspended"):
        notes.append(Note("Suspended", message("Suspended")))
    elif is_true(before.conditions, "Suspended") and not is_true(after.conditions, "Suspended"):
        notes.append(Note("Resumed", "spec.suspend is false."))
    if became("Complete"):
        notes.append(Note("Completed", message("Ready")))
    if became("Failed"):
        failed = find(after.conditions, "Failed")
        text = f"{failed.reason}: {failed.message}" if failed else ""
        notes.append(Note("Failed", text, warning=True))
    elif became("Stalled"):
        stalled = find(after.conditions, "Stalled")
        text = f"{stalled.reason}: {stalled.message}" if stalled else ""
        notes.append(Note("Stalled", text, warning=True))
    return notes


def _moved(before: RunStatus, after: RunStatus) -> bool:
    """Whether another result is in use, and not because it has just been published."""
    if before.in_use is None or after.in_use is None or before.in_use.uri == after.in_use.uri:
        return False
    published = after.published
    news = before.published is None and published is not None
    return not news or published is None or published.uri != after.in_use.uri


def _interruptions(before: RunStatus, after: RunStatus) -> list[Note]:
    if after.restarts is None or before.revision != after.revision:
        return []
    was = before.restarts
    disruptions = after.restarts.disruptions - (was.disruptions if was else 0)
    failures = after.restarts.failures - (was.failures if was else 0)
    notes = []
    if disruptions > 0:
        notes.append(Note("Interrupted", "A pod was evicted, preempted or deleted.", warning=True))
    if failures > 0:
        notes.append(Note("PodFailed", "A pod crashed or ran out of memory.", warning=True))
    return notes
