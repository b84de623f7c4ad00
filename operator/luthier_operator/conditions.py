"""Conditions with metav1 semantics. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from luthier_api.meta import Condition

_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
MESSAGE_LENGTH = 4096


def timestamp(moment: datetime) -> str:
    """RFC 3339, as metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reason_or(text: str, otherwise: str) -> str:
    """A reason that came from elsewhere, if it is one."""
    return text if _REASON.fullmatch(text) and len(text) <= 1024 else otherwise


def shortened(text: str, most: int) -> str:
    """At most so many characters; what is cut ends with …"""
    return text if len(text) <= most else text[: most - 1] + "…"


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of that type holds."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "True"


def tell_an_end(conditions: Iterable[Condition]) -> bool:
    """Whether they tell how the run ended: Complete or Failed."""
    return any(it.type in ("Complete", "Failed") and it.status == "True" for it in conditions)


class Conditions:
    """Collects conditions, the last word on each; one whose status didn't change keeps its time of
    transition."""

    def __init__(self, previous: Iterable[Condition], generation: int, now: datetime) -> None:
        self._previous = {condition.type: condition for condition in previous}
        self._generation = generation
        self._now = timestamp(now)
        self._all: dict[str, Condition] = {}

    def set(self, kind: str, holds: bool, reason: str, message: str = "") -> None:
        """Add a condition."""
        self._add(kind, "True" if holds else "False", reason, message)

    def unknown(self, kind: str, reason: str, message: str = "") -> None:
        """Add a condition that can't be told yet."""
        self._add(kind, "Unknown", reason, message)

    def keep(self, kind: str) -> None:
        """Add a condition as it was, about this generation, if there was one."""
        if known := self._previous.get(kind):
            self._add(kind, known.status, known.reason, known.message)

    def _add(self, kind: str, status: str, reason: str, message: str) -> None:
        known = self._previous.get(kind)
        same = known is not None and known.status == status
        self._all[kind] = Condition(
            type=kind,
            status=status,
            observed_generation=self._generation,
            last_transition_time=known.last_transition_time if known and same else self._now,
            reason=reason,
            message=shortened(message, MESSAGE_LENGTH),
        )

    def list(self) -> list[Condition]:
        """What was added, in that order."""
        return list(self._all.values())
