"""The last report of each run, in memory: a restart loses one, never a run."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from luthier_api.progress import ProgressReport
from luthier_operator.conditions import timestamp
from luthier_operator.resources import OWNERS, Key, Resource


@dataclass(frozen=True)
class Received:
    """A report and when it came."""

    report: ProgressReport
    at: datetime


class Reports:
    """Reports by run. The newest attempt wins, and within a pod the highest sequence."""

    def __init__(self) -> None:
        self._last: dict[tuple[Resource, Key], Received] = {}

    def get(self, resource: Resource, key: Key) -> Received | None:
        """The last report about a resource's run."""
        return self._last.get((resource, key))

    def put(self, report: ProgressReport, now: datetime) -> bool:
        """Remember a report; False for one that came late."""
        key = (resource_of(report), (report.run.namespace, report.run.name))
        known = self._last.get(key)
        if (
            known is not None
            and known.report.run == report.run
            and known.report.pod == report.pod
            and known.report.sequence >= report.sequence
        ):
            return False
        self._last[key] = Received(_with_times(report, now), now)
        return True

    def drop(self, resource: Resource, key: Key) -> None:
        """Forget a resource's run."""
        self._last.pop((resource, key), None)


def resource_of(report: ProgressReport) -> Resource:
    """The kind of resource that a report is about."""
    return next(resource for resource in OWNERS if resource.kind == report.run.kind)


def duration(seconds: float) -> str:
    """For people, as kubectl writes an age: 45s, 3m20s, 2h5m, 3d4h."""
    whole = max(0, round(seconds))
    for size, unit, next_size, next_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size}{unit}" + (f"{rest}{next_unit}" if rest else "")
    return f"{whole}s"


def _with_times(report: ProgressReport, now: datetime) -> ProgressReport:
    progress = report.progress
    finish = progress.estimated_finish
    if finish is None and report.eta_seconds is not None:
        finish = timestamp(now + timedelta(seconds=report.eta_seconds))
    times = {"estimated_finish": finish, "updated": timestamp(now)}
    if report.eta_seconds is not None:
        times["eta"] = duration(report.eta_seconds)
    progress = progress.model_copy(update=times)
    return report.model_copy(update={"progress": progress})
