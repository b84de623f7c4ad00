"""The last report of each run, in memory: a restart loses one, never a run."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeVar

from luthier_api.evaluation import METRIC_NAMES, is_metric
from luthier_api.finetunejob import EvaluationResult, Progress
from luthier_api.progress import ProgressReport
from luthier_operator.conditions import timestamp
from luthier_operator.resources import OWNERS, Key, Resource

T = TypeVar("T")

_BY_KIND = {resource.kind: resource for resource in OWNERS}

# Names that a script may give its numbers within one revision: each is a series for good.
SCRIPT_NAMES = 16
# What is said to take longer than ten years takes ten years.
MOST_ETA_SECONDS = 10 * 366 * 86_400.0


class News(Enum):
    """What a report says that the last one of its run didn't."""

    LATE = "nothing: it came after a newer one"
    PROGRESS = "how far the run is, and what it costs"
    FACTS = "what a status shows at once"


@dataclass(frozen=True)
class Received:
    """A report and when it came."""

    report: ProgressReport
    at: datetime


class Reports:
    """Reports by run. The newest attempt wins, and within a pod the highest sequence."""

    def __init__(self) -> None:
        self._last: dict[tuple[Resource, Key], Received] = {}
        self._names: dict[tuple[Resource, Key], tuple[tuple[str, str], frozenset[str]]] = {}

    def get(self, resource: Resource, key: Key) -> Received | None:
        """The last report about a resource's run."""
        return self._last.get((resource, key))

    def put(self, report: ProgressReport, now: datetime) -> News:
        """Remember a report, unless it came late."""
        key = (resource_of(report), (report.run.namespace, report.run.name))
        known = self._last.get(key)
        if (
            known is not None
            and known.report.run == report.run
            and known.report.pod == report.pod
            and known.report.sequence >= report.sequence
        ):
            return News.LATE
        if report.eval_metrics or report.evaluation is not None:
            report = _with_names(report, self._names_of(key, report))
        self._last[key] = Received(_with_times(report, now), now)
        same = known is not None and _facts(known.report) == _facts(report)
        return News.PROGRESS if same else News.FACTS

    def _names_of(self, key: tuple[Resource, Key], report: ProgressReport) -> frozenset[str]:
        """The metrics that the revision may show: ours, and the first of its script's."""
        of = (report.run.uid, report.run.revision)
        known = self._names.get(key)
        names = known[1] if known and known[0] == of else frozenset[str]()
        more = sorted(_script_names(report) - names)
        names |= frozenset(more[: SCRIPT_NAMES - len(names)])
        self._names[key] = (of, names)
        return names | METRIC_NAMES

    def close(self, resource: Resource, key: Key) -> None:
        """Keep the costs alone: of a run whose end is on record nothing else is read."""
        known = self._last.get((resource, key))
        if known is None:
            return
        told = known.report
        costs = ProgressReport(
            run=told.run,
            pod=told.pod,
            sequence=told.sequence,
            progress=Progress(),
            checkpoint_cost=told.checkpoint_cost,
        )
        self._last[resource, key] = Received(costs, known.at)

    def drop(self, resource: Resource, key: Key) -> None:
        """Forget a resource's run."""
        self._last.pop((resource, key), None)
        self._names.pop((resource, key), None)

    def clear(self) -> None:
        """Forget all."""
        self._last.clear()
        self._names.clear()


def _facts(report: ProgressReport) -> tuple[object, ...]:
    """All that the essence of a status of any kind (`Kind.essence`) may come from."""
    return (
        report.run,
        report.pod,
        report.dataset_digest,
        report.dataset_valid,
        report.dataset_summary,
        report.dataset,
        report.estimate is not None,
        report.resolved,
        bool(report.overfitting),
        report.inexact_resume,
        bool(report.checkpoints),
        report.evaluation,
        [(it.precision, it.verdict) for it in report.candidates],
        report.adapters,
        report.restarts,
    )


def resource_of(report: ProgressReport) -> Resource:
    """The kind of resource that a report is about."""
    return _BY_KIND[report.run.kind]


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


def _script_names(report: ProgressReport) -> set[str]:
    found = {name.removeprefix("eval_") for name in report.eval_metrics}
    if report.evaluation is not None:
        found |= report.evaluation.base.keys() | report.evaluation.tuned.keys()
    return {name for name in found if is_metric(name)} - METRIC_NAMES


def _with_names(report: ProgressReport, names: frozenset[str]) -> ProgressReport:
    def chosen(values: dict[str, T]) -> dict[str, T]:
        return {name: it for name, it in values.items() if name.removeprefix("eval_") in names}

    changes: dict[str, object] = {"eval_metrics": chosen(report.eval_metrics)}
    if (of := report.evaluation) is not None:
        changes["evaluation"] = EvaluationResult(
            split=of.split,
            examples=of.examples,
            base=chosen(of.base),
            tuned=chosen(of.tuned),
            change=chosen(of.change),
        )
    return report.model_copy(update=changes)


def _with_times(report: ProgressReport, now: datetime) -> ProgressReport:
    """By our clock: that of the trainer's node may be off by a day."""
    times: dict[str, str | None] = {"updated": timestamp(now), "eta": None}
    times["estimated_finish"] = None
    if report.eta_seconds is not None:
        eta = min(report.eta_seconds, MOST_ETA_SECONDS)
        times["eta"] = duration(eta)
        times["estimated_finish"] = timestamp(now + timedelta(seconds=eta))
    progress = report.progress.model_copy(update=times)
    return report.model_copy(update={"progress": progress})
