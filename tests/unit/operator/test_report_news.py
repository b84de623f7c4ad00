"""What a report costs by what it says: nothing, an appointment, or a look at once."""

import json
from typing import Any

import pytest
from unit.operator.builders import NOW, job_of, observed, pod_of, resource
from unit.operator.test_reports import report

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.progress import ProgressReport
from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.optimizejob.kind import OPTIMIZE_JOB
from luthier_operator.pace import PROGRESS_SECONDS, Pace
from luthier_operator.receiver import Receiver
from luthier_operator.reports import News, Reports, Speaker
from luthier_operator.resources import FINE_TUNE_JOBS, Key, Resource
from luthier_operator.run.model import Revision
from luthier_operator.store import Store

KEY = ("team", "tone")
CANDIDATE = {"precision": "int8", "sizeBytes": 5}
# Two values of each field that a trainer sends; the first is also what it says before.
FIELDS: dict[str, tuple[Any, Any]] = {
    "progress": ({"step": 1}, {"step": 2, "stage": "Training", "loss": 0.25}),
    "etaSeconds": (90, 80),
    "datasetDigest": ("sha256:0", "sha256:1"),
    "datasetValid": (True, False),
    "datasetSummary": ("9 rows", "8 rows"),
    "dataset": ({"train": 9}, {"train": 8}),
    "estimate": (None, {"memoryBytes": 5}),
    "resolved": ({"a": "b"}, {"a": "c"}),
    "overfitting": (None, "by heart"),
    "inexactResume": (None, "another GPU"),
    "evalMetrics": ({"f1": 0.5}, {"f1": 0.75}),
    "machine": ({}, {"cpuPercent": 50}),
    "resumedFromStep": (None, 5),
    "checkpoints": ([], [{"step": 1, "uri": "s3://b/c", "sha256": "0"}]),
    "checkpointCost": ({}, {"count": 1}),
    "evaluation": (None, {"split": "test", "base": {"f1": 0.5}, "tuned": {"f1": 0.75}}),
    "baseline": (None, CANDIDATE),
    "candidates": ([CANDIDATE], [CANDIDATE | {"verdict": "Passed"}]),
    "adapters": (
        [{"name": "a", "included": True}],
        [{"name": "a", "included": False, "code": "Unfit"}],
    ),
    "search": ({"trials": 4, "running": 1}, {"trials": 4, "running": 1, "complete": 1}),
    "tracking": ([], [{"tracker": "MLflow", "url": "http://mlflow/#/runs/1"}]),
    "usage": ({}, {"cpuSeconds": 5}),
    "restarts": ({}, {"failures": 1}),
}


def test_every_field_of_a_report_is_looked_at_here() -> None:
    named = {field.alias or name for name, field in ProgressReport.model_fields.items()}
    assert named - FIELDS.keys() == {"run", "pod", "sequence"}


def decided() -> str:
    revision = FINE_TUNE_JOB.decide(observed()).revision
    assert revision is not None
    return revision.name


def essence(told: ProgressReport) -> object:
    """What of a FineTuneJob's status that follows from a report is written at once."""
    job = job_of(Revision(decided(), 1, ""))
    seen = observed(jobs=[job], pods=[pod_of(job)], report=told)
    return FINE_TUNE_JOB.essence(FINE_TUNE_JOB.compute(seen, FINE_TUNE_JOB.decide(seen), None))


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_written_at_once_is_never_taken_for_progress(field: str) -> None:
    """What a status shows at once is news, and what it doesn't isn't: an OptimizeJob's shows
    candidates, and an AdapterBundle's adapters."""
    base = {name: first for name, (first, _) in FIELDS.items()}
    before = report(1, pod="pod-1", revision=decided(), **base)
    after = report(2, pod="pod-1", revision=decided(), **(base | {field: FIELDS[field][1]}))
    reports = Reports()
    reports.put(before, NOW)
    news = reports.put(after, NOW)
    shown = [essence(told) for told in (before, after)]
    if shown[0] != shown[1] or field in ("candidates", "adapters"):
        assert news is News.FACTS
    else:
        assert news is News.PROGRESS
    # Another pod's first one is always news.
    assert reports.put(report(1, pod="pod-2", revision=decided(), **base), NOW) is News.FACTS


def test_the_other_kinds_show_no_more_than_that_at_once() -> None:
    """What a report tells these of candidates' figures, stages and costs waits."""
    told = {"candidates": [CANDIDATE | {"verdict": "Passed"}]}
    before = OptimizeJobStatus.model_validate(told)
    figures = [CANDIDATE | {"verdict": "Passed", "sizeBytes": 7, "reason": "small"}]
    more = {"candidates": figures, "baseline": CANDIDATE, "stage": "Measuring", "usage": {}}
    after = OptimizeJobStatus.model_validate(told | more)
    assert OPTIMIZE_JOB.essence(before) == OPTIMIZE_JOB.essence(after)
    moved = AdapterBundleStatus.model_validate({"stage": "Proving", "usage": {"cpuSeconds": 1}})
    assert ADAPTER_BUNDLE.essence(moved) == ADAPTER_BUNDLE.essence(AdapterBundleStatus())


class Appointments:
    """A receiver's, with a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.made: list[float] = []
        store = Store()
        self.pace = Pace(lambda: store.running, lambda: self.now)
        self.receiver = Receiver(
            None,  # type: ignore[arg-type]
            store,
            Reports(),
            self.pace,
            ready=lambda: True,
            look=self._look,
        )
        self.sequence = 0

    def _look(self, resource: Resource, key: Key, seconds: float) -> None:
        assert (resource, key) == (FINE_TUNE_JOBS, KEY)
        self.made.append(self.now + seconds)

    def tell(self, **fields: Any) -> None:
        self.sequence += 1
        self.receiver._accept(report(self.sequence, **fields), Speaker())


def test_a_report_that_changes_nothing_asks_for_no_look_before_a_write_is_due() -> None:
    run = Appointments()
    run.tell()
    assert run.made == [1000.0]
    run.pace.up_to_date(FINE_TUNE_JOBS, KEY)
    for _ in range(3):
        run.now += 1
        run.tell()
    # The same appointment each time: it is neither put off nor brought forward.
    assert run.made[1:] == [1000.0 + PROGRESS_SECONDS] * 3
    run.now += 1
    run.tell(datasetDigest="sha256:1")
    assert run.made[4:] == [run.now]


def test_a_write_that_failed_is_due_at_the_next_report() -> None:
    run = Appointments()
    run.tell()
    run.pace.up_to_date(FINE_TUNE_JOBS, KEY)
    run.now += PROGRESS_SECONDS
    run.tell()
    assert run.pace.turn(FINE_TUNE_JOBS, KEY, material=False) == 0
    # … and the API server doesn't answer.
    run.now += 1
    run.tell()
    assert run.made[-1] == run.now


def test_who_waits_for_its_turn_is_not_looked_at_before() -> None:
    run = Appointments()
    while (wait := run.pace.turn(FINE_TUNE_JOBS, KEY, material=True)) == 0:
        pass
    for number in range(20):
        run.tell(datasetSummary=f"{number} rows")
    assert set(run.made) == {run.now + wait}


def test_a_late_report_asks_for_nothing() -> None:
    run = Appointments()
    run.tell()
    run.sequence = 0
    run.tell()
    assert len(run.made) == 1


def test_sums_of_a_revision_never_fall() -> None:
    """A pod that has just begun doesn't know what those before it have cost."""
    status = {
        "phase": "Running",
        "revision": decided(),
        "attempt": 1,
        "usage": {"cpuSeconds": 50, "gpuSeconds": 7, "trainedTokens": 9},
        "restarts": {"failures": 2, "disruptions": 1, "total": 3},
    }
    job = job_of(Revision(decided(), 1, ""))
    told = report(1, pod="pod-1", revision=decided(), restarts={"disruptions": 2}, usage={})
    seen = observed(resource(status=status), jobs=[job], pods=[pod_of(job)], report=told)
    after = FINE_TUNE_JOB.compute(seen, FINE_TUNE_JOB.decide(seen), None)
    assert after.usage is not None
    assert (after.usage.cpu_seconds, after.usage.trained_tokens) == (50, 9)
    assert json.loads(json.dumps(after.to_json()))["restarts"] == {
        "failures": 2,
        "disruptions": 2,
        "total": 4,
    }
