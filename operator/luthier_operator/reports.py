"""The last report of each part of each run, in memory: a restart loses one, never a run.

A run has one part, of index 0, and one pod at a time; a search has one for each trial at a time.
The first stands for the run: its reports are what a status is drawn from, with the last word of any
part on the trials.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeVar

from luthier_api.evaluation import METRIC_NAMES, is_metric
from luthier_api.finetunejob import EvaluationResult, Progress
from luthier_api.progress import ProgressReport
from luthier_api.revision import revision_number
from luthier_api.runspec import RunIdentity
from luthier_api.search import SearchStatus
from luthier_operator.conditions import timestamp
from luthier_operator.resources import OWNERS, Key, Resource

T = TypeVar("T")

_BY_KIND = {resource.kind: resource for resource in OWNERS}

# Of the parts of a run so many are told apart.
INDICES = range(64)
# Names that a script may give its numbers within one revision: each is a series for good.
SCRIPT_NAMES = 16
# What is said to take longer than ten years takes ten years.
MOST_ETA_SECONDS = 10 * 366 * 86_400.0


class News(Enum):
    """What a report says that the last one of its run didn't."""

    LATE = "nothing: it came after a newer one"
    PART = "how far a part is from which no status is drawn"
    PROGRESS = "how far the run is, and what it costs"
    FACTS = "what a status shows at once"


@dataclass(frozen=True)
class Speaker:
    """The pod that a report is of. `created`: RFC 3339, by the API server's clock; of the pods of a
    part the newest speaks. `index`: of the part."""

    uid: str = ""
    created: str = ""
    index: int = 0


@dataclass(frozen=True)
class Received:
    """A report, when it came, and from whom."""

    report: ProgressReport
    at: datetime
    by: Speaker


class Reports:
    """Reports by run and part. The newest attempt wins, in it the newest pod, and within a pod the
    highest sequence."""

    def __init__(self) -> None:
        # The parts are of one run: what a newer one says takes the place of all.
        self._last: dict[tuple[Resource, Key], dict[int, Received]] = {}
        self._names: dict[tuple[Resource, Key], tuple[tuple[str, str], frozenset[str]]] = {}

    def get(self, resource: Resource, key: Key, index: int = 0) -> Received | None:
        """The last report about a part of a resource's run."""
        return self._last.get((resource, key), {}).get(index)

    def put(self, report: ProgressReport, now: datetime, by: Speaker = Speaker()) -> News:
        """Remember a report, unless it came late. `by`: of one of `INDICES`."""
        key = (resource_of(report), (report.run.namespace, report.run.name))
        parts = self._last.get(key, {})
        if any(_is_late(report, by, told) for told in parts.values()):
            return News.LATE
        if any(told.report.run != report.run for told in parts.values()):
            parts = {}
        known = parts.get(by.index)
        self._last[key] = parts
        if by.index != 0:
            # Of what may be many the costs alone, and how far it is: a report may have 64 KiB.
            parts[by.index] = Received(_costs(report, report.progress), now, by)
            return self._told_by_another(parts, report, now, by)
        if report.eval_metrics or report.evaluation is not None:
            report = _with_names(report, self._names_of(key, report))
        if known is not None and report.search is not None:
            newer = _newer(known.report.search, report.search)
            report = report.model_copy(update={"search": newer})
        parts[0] = Received(_with_times(report, now), now, by)
        same = known is not None and _facts(known.report) == _facts(report)
        return News.PROGRESS if same else News.FACTS

    def _told_by_another(
        self, parts: dict[int, Received], report: ProgressReport, now: datetime, by: Speaker
    ) -> News:
        """Each part of a search tells of all trials, and what the first one knows may be older. Who
        stands in for it, where it has ended and the operator begun anew, tells how far it is."""
        if report.search is None:
            return News.PART
        first = parts.get(0)
        if first is None:
            told = _costs(report, report.progress).model_copy(
                update={"eta_seconds": report.eta_seconds, "search": report.search}
            )
            parts[0] = Received(_with_times(told, now), now, by)
            return News.FACTS
        search = _newer(first.report.search, report.search)
        same = counted(search) == counted(first.report.search)
        parts[0] = replace(first, report=first.report.model_copy(update={"search": search}))
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
        known = self.get(resource, key)
        if known is None:
            return
        costs = _costs(known.report, Progress())
        self._last[resource, key] = {0: Received(costs, known.at, known.by)}

    def drop(self, resource: Resource, key: Key) -> None:
        """Forget a resource's run."""
        self._last.pop((resource, key), None)
        self._names.pop((resource, key), None)

    def clear(self) -> None:
        """Forget all."""
        self._last.clear()
        self._names.clear()


def _is_late(report: ProgressReport, by: Speaker, known: Received) -> bool:
    """Whether what is known is newer: of a later attempt or pod of the part, or told later."""
    run, told = report.run, known.report.run
    if run != told:
        return run.uid == told.uid and _place(run) < _place(told)
    if by.index != known.by.index:
        return False
    if by.uid == known.by.uid and report.pod == known.report.pod:
        return report.sequence <= known.report.sequence
    return by.created < known.by.created


def _place(run: RunIdentity) -> tuple[int, int]:
    """In the order of a resource's runs; what names no revision comes first."""
    try:
        return revision_number(run.revision), run.attempt
    except ValueError:
        return 0, run.attempt


def _costs(told: ProgressReport, progress: Progress) -> ProgressReport:
    """Without all that may be large."""
    return ProgressReport(
        run=told.run,
        pod=told.pod,
        sequence=told.sequence,
        progress=progress,
        checkpoint_cost=told.checkpoint_cost,
    )


def _newer(known: SearchStatus | None, told: SearchStatus) -> SearchStatus:
    """Trials end, and never begin again within a run: of two words the one that knows of more."""
    return told if known is None or _ended(told) >= _ended(known) else known


def _ended(search: SearchStatus) -> int:
    return search.complete + search.pruned + search.failed


def counted(search: SearchStatus | None) -> tuple[object, ...] | None:
    """What of a search is news: how many trials there are of each kind, and the best."""
    if search is None:
        return None
    best = search.best.number if search.best else None
    ended = (search.complete, search.pruned, search.failed)
    return search.running, *ended, best, search.stopped


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
        counted(report.search),
        report.tracking,
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
