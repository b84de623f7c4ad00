"""An OptimizeJob's status: its end, its candidates, its events."""

from typing import Any

from unit.operator.builders import (
    ended,
    fine_tune_job,
    message,
    pod_of,
    reasons,
    result,
    stored,
)
from unit.operator.optimizejob_support import (
    BASELINE,
    CANDIDATES,
    completed,
    published,
    resource,
    seen,
    started,
    status,
)

from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.progress import ProgressReport
from luthier_operator.optimizejob.decide import decide
from luthier_operator.optimizejob.kind import OPTIMIZE_JOB
from luthier_operator.run.events import transitions
from luthier_operator.run.model import Revision


def test_complete() -> None:
    done = completed()
    assert done.phase == "Complete"
    assert reasons(done) == {
        "Ready": "True Published",
        "Stalled": "False Completed",
        "Complete": "True Completed",
        "SourceReady": "True Published",
        "Running": "False Finished",
        "GatesPassed": "True Passed",
    }
    assert done.artifact is not None
    assert done.artifact.precision == "int8"
    assert done.baseline is not None
    assert [it.verdict for it in done.candidates] == ["Chosen", "Rejected"]
    # On record: the Job and its pod may go, and the FineTuneJob as well.
    assert status(seen(resource(status=done.to_json()), source=fine_tune_job(published=1))) == done
    later = status(seen(resource(status=done.to_json())))
    assert reasons(later)["SourceReady"] == "True Taken"
    assert later.artifact == done.artifact


def test_gates_that_are_not_met_keep_the_table() -> None:
    revision, manifest = started()
    job = stored(manifest, revision, end="Failed", reason="PodFailurePolicy")
    error = {"code": "GatesNotMet", "message": "int8 loses 0.2 accuracy", "param": "gates"}
    told = result(revision, outcome="Failed", error=error, candidates=CANDIDATES[1:])
    pod = pod_of(job, phase="Failed", state=ended(80, told))
    failed = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod]))
    assert failed.phase == "Failed"
    for kind in ("Failed", "Stalled"):
        assert reasons(failed)[kind] == "True GatesNotMet"
    assert reasons(failed)["GatesPassed"] == "False GatesNotMet"
    assert reasons(failed)["Ready"] == "False GatesNotMet"
    assert [it.precision for it in failed.candidates] == ["int4"]
    assert failed.artifact is None
    # It stays failed until the spec, the source or the token changes.
    told_again = failed.to_json()
    assert decide(seen(resource(status=told_again), source=fine_tune_job(published=1))).ended
    retried = resource(status=told_again, retry="once")
    plan = decide(seen(retried, source=fine_tune_job(published=1)))
    assert plan.revision == Revision(revision.name, 2, revision.shape_hash)
    assert plan.created
    newer = decide(seen(resource(status=told_again), source=fine_tune_job(published=2)))
    assert newer.revision is not None
    assert newer.revision.name.startswith("r2-")


def test_another_failure_says_nothing_of_the_gates() -> None:
    revision, manifest = started()
    job = stored(manifest, revision, end="Failed", reason="PodFailurePolicy")
    pod = pod_of(job, phase="Failed", state=ended(137, reason="OOMKilled"))
    failed = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod]))
    assert reasons(failed)["Failed"] == "True OutOfMemory"
    assert "placement.pool" in message(failed, "Failed")
    assert "training." not in message(failed, "Failed")
    assert reasons(failed)["GatesPassed"] == "Unknown NotMeasured"


def report(revision: Revision, **fields: Any) -> ProgressReport:
    run = {
        "kind": "OptimizeJob",
        "namespace": "team",
        "name": "small",
        "uid": resource()["metadata"]["uid"],
        "revision": revision.name,
        "attempt": 1,
    }
    own = {"run": run, "pod": "pod-1", "sequence": 1, "progress": {"stage": "Quantising int4"}}
    return ProgressReport.model_validate(own | fields)


def test_how_far_it_is_and_what_came_of_it() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    progress = {"stage": "Measuring int8", "step": 1, "totalSteps": 3, "eta": "2m", "loss": 5}
    told = report(revision, progress=progress)
    source = fine_tune_job(published=1)
    running = status(seen(source=source, jobs=[job], pods=[pod_of(job)], report=told))
    assert running.progress is not None
    assert (running.progress.percent, running.progress.eta) == ("33%", "2m")
    assert running.progress.loss is None
    assert running.result is None
    # What the operator knew before it began anew.
    again = seen(resource(status=running.to_json()), source=source, jobs=[job], pods=[pod_of(job)])
    assert status(again) == running
    failed = stored(manifest, revision, end="Failed", reason="BackoffLimitExceeded")
    over = status(seen(resource(status=running.to_json()), source=source, jobs=[failed]))
    assert over.progress is not None
    assert (over.progress.percent, over.progress.eta) == ("33%", None)
    assert completed().result == "int8 100 B"


def test_candidates_come_from_reports_and_outlive_them() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    told = report(revision, candidates=CANDIDATES, baseline=BASELINE)
    running = status(
        seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)], report=told)
    )
    assert running.stage == "Quantising int4"
    assert len(running.candidates) == 2
    assert reasons(running)["GatesPassed"] == "Unknown NotMeasured"
    again = seen(
        resource(status=running.to_json()),
        source=fine_tune_job(published=1),
        jobs=[job],
        pods=[pod_of(job)],
    )
    assert status(again) == running
    # A result that had no room for the reasons doesn't take them away.
    done = stored(manifest, revision, end="Complete")
    mute = [{**it, "reason": None} for it in CANDIDATES]
    end = result(revision, candidates=mute, artifact=published(revision))
    pod = pod_of(done, phase="Succeeded", state=ended(0, end))
    ready = seen(
        resource(status=running.to_json()),
        source=fine_tune_job(published=1),
        jobs=[done],
        pods=[pod],
    )
    assert [it.reason for it in status(ready).candidates] == ["the smallest", "too dull"]
    assert status(ready).stage is None


def test_what_moves_all_the_time_is_no_change_of_substance() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)

    def running(**fields: Any) -> OptimizeJobStatus:
        told = report(revision, **fields)
        source = fine_tune_job(published=1)
        return status(seen(source=source, jobs=[job], pods=[pod_of(job)], report=told))

    once = OPTIMIZE_JOB.essence(running(candidates=CANDIDATES))
    faster = [{**it, "tokensPerSecond": 9.0} for it in CANDIDATES]
    assert OPTIMIZE_JOB.essence(running(candidates=faster, progress={"stage": "x"})) == once
    assert OPTIMIZE_JOB.essence(running(candidates=CANDIDATES[:1])) != once


def test_events() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    none = OptimizeJobStatus()
    held = status(seen(source=fine_tune_job()))
    assert transitions(none, held) == []
    running = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)]))
    assert [it.reason for it in transitions(held, running)] == ["Created", "Started"]
    (note,) = transitions(running, completed())
    assert note.reason == "Completed"
    assert note.message == published(revision)["uri"]
