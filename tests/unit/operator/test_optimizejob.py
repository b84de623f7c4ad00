"""An OptimizeJob: its source, its order, its status."""

from dataclasses import replace
from typing import Any

import pytest
from unit.operator.builders import (
    CODE,
    SPEC,
    around,
    ended,
    fine_tune_job,
    message,
    order_in,
    owned,
    pod_of,
    reasons,
    result,
    stored,
)

from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.progress import ProgressReport
from luthier_api.runspec import OptimizeOrder
from luthier_operator.optimizejob.decide import decide
from luthier_operator.optimizejob.kind import OPTIMIZE_JOB
from luthier_operator.optimizejob.observe import Observed, observe
from luthier_operator.optimizejob.status import compute
from luthier_operator.patches import merge_diff
from luthier_operator.run.decide import Plan
from luthier_operator.run.events import transitions
from luthier_operator.run.model import Revision

Obj = dict[str, Any]

OUTPUT = {"uri": "s3://artifacts/models"}
BY_JOB: Obj = {"source": {"fineTuneJobRef": {"name": "tone"}}, "output": OUTPUT}
BY_URI: Obj = {
    "source": {"modelUri": "hf://owner/model", "revision": "main", "adapterUri": "s3://b/adapter"},
    "output": OUTPUT,
}
CANDIDATES = [
    {"precision": "int8", "sizeBytes": 100, "verdict": "Chosen", "reason": "the smallest"},
    {"precision": "int4", "sizeBytes": 60, "verdict": "Rejected", "reason": "too dull"},
]
BASELINE = {"precision": "fp32", "perplexity": 3.5}


def resource(spec: Obj = BY_JOB, **fields: Any) -> Obj:
    return owned("OptimizeJob", "small", spec, **fields)


def seen(
    obj: Obj | None = None,
    *,
    source: Obj | None = None,
    jobs: list[Obj] | None = None,
    pods: list[Obj] | None = None,
    **changes: Any,
) -> Observed:
    known = around(jobs=jobs, pods=pods, fine_tune_jobs=[source] if source else [])
    return observe(obj or resource(), replace(known, **changes))


def order_of(plan: Plan) -> OptimizeOrder:
    order = order_in(plan)
    assert isinstance(order, OptimizeOrder)
    return order


def started() -> tuple[Revision, Obj]:
    """The first revision and its Job's manifest."""
    plan = decide(seen(source=fine_tune_job(published=1)))
    assert plan.revision is not None
    return plan.revision, plan.create[-1]


def status(observed: Observed) -> OptimizeJobStatus:
    return compute(observed, decide(observed))


def published(revision: Revision) -> Obj:
    uri = f"s3://artifacts/models/team/small/{revision.name}"
    return {"uri": uri, "manifestSha256": "e" * 64, "precision": "int8"}


def completed() -> OptimizeJobStatus:
    """The status after the first revision has been published."""
    revision, manifest = started()
    job = stored(manifest, revision, end="Complete")
    told = result(revision, candidates=CANDIDATES, baseline=BASELINE, artifact=published(revision))
    pod = pod_of(job, phase="Succeeded", state=ended(0, told))
    return status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod]))


@pytest.mark.parametrize(
    ("source", "reason", "stalled"),
    [
        (None, "SourceNotFound", False),
        (fine_tune_job(), "SourceNotReady", False),
        (fine_tune_job(state="Failed"), "SourceFailed", True),
        (fine_tune_job(state="Stalled"), "SourceFailed", True),
    ],
)
def test_a_source_that_is_not_there_holds_everything_back(
    source: Obj | None, reason: str, stalled: bool
) -> None:
    observed = seen(source=source)
    plan = decide(observed)
    assert plan.create == ()
    assert plan.revision is None
    held = compute(observed, plan)
    assert reasons(held) == {
        "Ready": f"False {reason}",
        "Stalled": f"True {reason}" if stalled else "False Progressing",
        "Scheduled": f"False {reason}",
        "SourceReady": f"False {reason}",
        "Running": f"False {held.phase}",
        "GatesPassed": "Unknown NotMeasured",
    }
    assert held.phase == ("Stalled" if stalled else "Pending")
    assert "FineTuneJob tone" in message(held, "Ready")
    assert held.revision is None
    # The same again costs no write.
    again = status(seen(resource(status=held.to_json()), source=source))
    assert merge_diff(held.to_json(), again.to_json()) == {}


def test_a_published_result_is_ordered_with_its_digest() -> None:
    plan = decide(seen(source=fine_tune_job(published=1)))
    order = order_of(plan)
    assert order.run.kind == "OptimizeJob"
    assert order.source.to_json() == {
        "uri": "s3://artifacts/models/team/tone/r1-00000001",
        "revision": "r1-00000001",
        "manifestSha256": f"{1:064}",
    }
    assert order.output == f"s3://artifacts/models/team/small/{order.run.revision}"
    assert order.shape_hash.startswith(order.run.revision.removeprefix("r1-"))
    metadata = plan.create[-1]["metadata"]
    assert metadata["ownerReferences"][0]["kind"] == "OptimizeJob"
    assert metadata["labels"]["luthier.dev/kind"] == "OptimizeJob"


def test_a_model_and_an_adapter_by_uri() -> None:
    order = order_of(decide(seen(resource(BY_URI))))
    assert order.source.to_json() == {"uri": "hf://owner/model"}
    assert order.source_revision == "main"
    assert order.adapter_uri == "s3://b/adapter"
    assert reasons(status(seen(resource(BY_URI))))["SourceReady"] == "True Named"


@pytest.mark.parametrize(
    "change",
    [
        {"source": BY_URI["source"] | {"revision": "v2"}},
        {"source": BY_URI["source"] | {"adapterUri": "s3://b/other"}},
        {"precisions": ["int4"]},
        {"output": {"uri": "s3://elsewhere/models"}},
    ],
)
def test_what_shapes_the_result_makes_a_revision(change: Obj) -> None:
    before = status(seen(resource(BY_URI))).to_json()
    plan = decide(seen(resource(BY_URI | change, generation=2, status=before)))
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")


def test_the_hubs_token_shapes_nothing() -> None:
    token = {"tokenSecretRef": {"name": "hub", "key": "token"}}
    before = status(seen(resource(BY_URI)))
    changed = BY_URI | {"source": BY_URI["source"] | token}
    plan = decide(seen(resource(changed, generation=2, status=before.to_json())))
    assert plan.revision is not None
    assert plan.revision.name == before.revision


def test_what_the_fine_tune_job_reads_is_mounted_and_its_code_is_not() -> None:
    script = CODE | {"configMapRef": {"name": "measure", "key": "eval.py"}}
    source = fine_tune_job(
        published=1,
        model={"uri": "hf://a/b", "tokenSecretRef": {"name": "hub", "key": "token"}},
        dataset=SPEC["dataset"] | {"uri": "pvc://rows/a.csv"},
        training={"maxSteps": 1, "loss": CODE},
        evaluation={"script": script},
    )
    plan = decide(seen(source=source))  # without the platform's consent to run code
    pod = plan.create[-1]["spec"]["template"]["spec"]
    mounts = {it["mountPath"] for it in pod["containers"][0]["volumeMounts"]}
    assert "/var/lib/luthier/claims/rows" in mounts
    assert not [path for path in mounts if "configmaps" in path]
    names = {it["name"] for it in pod["containers"][0]["env"]}
    assert "HF_TOKEN" in names
    # Rows of its own stand in for the FineTuneJob's.
    own = {"evaluation": {"task": "classification", "dataset": SPEC["dataset"]}}
    plan = decide(seen(resource(BY_JOB | own), source=source))
    pod = plan.create[-1]["spec"]["template"]["spec"]
    mounts = {it["mountPath"] for it in pod["containers"][0]["volumeMounts"]}
    assert not [path for path in mounts if "claims" in path or "configmaps" in path]


@pytest.mark.parametrize(
    ("spec", "source", "reason", "words"),
    [
        (
            BY_JOB
            | {
                "evaluation": {
                    "task": "generation",
                    "dataset": SPEC["dataset"] | {"uri": "file:///etc/rows.jsonl"},
                }
            },
            fine_tune_job(published=1),
            "FileNotAllowed",
            "spec.evaluation.dataset.uri: /etc/rows.jsonl",
        ),
        (
            BY_JOB | {"placement": {"pool": "gpu"}},
            fine_tune_job(published=1),
            "PoolNotAllowed",
            "Namespace team",
        ),
    ],
)
def test_the_platforms_word(spec: Obj, source: Obj, reason: str, words: str) -> None:
    plan = decide(seen(resource(spec), source=source))
    assert plan.hold is not None
    assert plan.hold.reason == reason
    assert words in plan.hold.message
    assert not plan.create


def test_a_newer_result_makes_a_revision_and_stops_the_run() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    running = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)]))
    assert running.source is not None
    newer = seen(
        resource(status=running.to_json()),
        source=fine_tune_job(published=2),
        jobs=[job],
        pods=[pod_of(job)],
    )
    plan = decide(newer)
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")
    assert [it.revision for it in plan.delete] == [revision.name]
    assert plan.create == ()
    superseded = compute(newer, plan)
    assert superseded.history[0].outcome == "Superseded"
    stopped = seen(resource(status=superseded.to_json()), source=fine_tune_job(published=2))
    assert order_of(decide(stopped)).source.revision == "r2-00000002"


@pytest.mark.parametrize("source", [None, fine_tune_job(), fine_tune_job(state="Failed")])
def test_what_was_taken_stays_when_its_source_goes(source: Obj | None) -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    before = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)]))
    gone = seen(resource(status=before.to_json()), source=source, jobs=[job], pods=[pod_of(job)])
    plan = decide(gone)
    assert plan.delete == ()
    assert plan.revision == revision
    now = compute(gone, plan)
    assert now.phase == "Running"
    assert now.source == before.source
    assert reasons(now)["SourceReady"] == "True Taken"
    # The end of the run is told as ever.
    done = stored(manifest, revision, end="Complete")
    told = result(revision, artifact=published(revision), candidates=CANDIDATES)
    pod = pod_of(done, phase="Succeeded", state=ended(0, told))
    complete = status(seen(resource(status=now.to_json()), source=source, jobs=[done], pods=[pod]))
    assert complete.phase == "Complete"
    # A run anew would read the FineTuneJob's spec: it waits for the next result.
    edited = resource(BY_JOB | {"precisions": ["int4"]}, generation=2, status=complete.to_json())
    plan = decide(seen(edited, source=source))
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")
    assert plan.create == ()
    assert plan.hold is not None
    assert plan.hold.reason.startswith("Source")


def test_another_source_that_is_not_ready_stops_the_run_and_keeps_the_numbers() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    before = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)]))
    other = BY_JOB | {"source": {"fineTuneJobRef": {"name": "other"}}}
    edited = resource(other, generation=2, status=before.to_json())
    waiting = seen(edited, source=fine_tune_job("other"), jobs=[job], pods=[pod_of(job)])
    plan = decide(waiting)
    assert [it.revision for it in plan.delete] == [revision.name]
    held = compute(waiting, plan)
    assert held.revision is None
    assert held.source is None
    assert held.history[0].revision == revision.name
    assert "GatesPassed" in reasons(held)
    edited = resource(other, generation=2, status=held.to_json())
    # The old Job's pod is still there; its revision isn't taken for the new one.
    source = fine_tune_job("other", published=1)
    plan = decide(seen(edited, source=source, jobs=[job], pods=[pod_of(job)]))
    assert plan.create == ()
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")
    assert [it.revision for it in plan.delete] == [revision.name]


def test_a_changed_hash_without_a_change_builds_nothing_anew() -> None:
    done = completed().to_json() | {"revision": "r1-00000000"}
    plan = decide(seen(resource(status=done), source=fine_tune_job(published=1)))
    assert plan.ended
    assert plan.create == ()


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
    assert plan.create
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


def test_suspended_before_and_after_the_source_is_there() -> None:
    suspended = resource(BY_JOB | {"suspend": True})
    waiting = status(seen(suspended, source=fine_tune_job()))
    assert waiting.phase == "Suspended"
    assert reasons(waiting)["Suspended"] == "True Suspended"
    plan = decide(seen(suspended, source=fine_tune_job(published=1)))
    assert plan.create == ()
    assert plan.hold is not None
    assert plan.hold.reason == "Suspended"


def test_a_spec_that_cannot_be_read() -> None:
    bad = seen(resource({"source": {}, "output": OUTPUT, "precisions": "all"}))
    plan = decide(bad)
    assert plan.hold is not None
    assert "spec.precisions" in plan.hold.message
    assert reasons(compute(bad, plan)) == {
        "Ready": "False InvalidSpec",
        "Stalled": "True InvalidSpec",
    }


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
