"""An OptimizeJob: its source, its order, what holds it back."""

import pytest
from unit.operator.builders import (
    CODE,
    SPEC,
    deleted_by,
    ended,
    fine_tune_job,
    message,
    pod_of,
    reasons,
    result,
    revisions_deleted_by,
    stored,
)
from unit.operator.optimizejob_support import (
    BY_JOB,
    BY_URI,
    CANDIDATES,
    OUTPUT,
    Obj,
    completed,
    order_of,
    published,
    resource,
    seen,
    started,
    status,
)

from luthier_operator.optimizejob.decide import decide
from luthier_operator.optimizejob.status import compute
from luthier_operator.patches import merge_diff


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
    assert not plan.created
    assert plan.revision is None
    held = compute(observed, plan)
    on_its_way = {} if stalled else {"Reconciling": f"True {reason}"}
    assert reasons(held) == on_its_way | {
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
    metadata = plan.created[-1]["metadata"]
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
    pod = plan.created[-1]["spec"]["template"]["spec"]
    mounts = {it["mountPath"] for it in pod["containers"][0]["volumeMounts"]}
    assert "/var/lib/luthier/claims/rows" in mounts
    assert not [path for path in mounts if "configmaps" in path]
    names = {it["name"] for it in pod["containers"][0]["env"]}
    assert "HF_TOKEN" in names
    # Rows of its own stand in for the FineTuneJob's.
    own = {"evaluation": {"task": "classification", "dataset": SPEC["dataset"]}}
    plan = decide(seen(resource(BY_JOB | own), source=source))
    pod = plan.created[-1]["spec"]["template"]["spec"]
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
            "namespace team",
        ),
    ],
)
def test_the_platforms_word(spec: Obj, source: Obj, reason: str, words: str) -> None:
    plan = decide(seen(resource(spec), source=source))
    assert plan.hold is not None
    assert plan.hold.reason == reason
    assert words in plan.hold.message
    assert not plan.created


def test_a_newer_result_is_taken_when_the_run_has_ended() -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    running = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)]))
    newest = fine_tune_job(published=2)
    newer = seen(resource(status=running.to_json()), source=newest, jobs=[job], pods=[pod_of(job)])
    plan = decide(newer)
    assert plan.revision == revision
    assert plan.actions == ()
    assert compute(newer, plan).source == running.source
    done = stored(manifest, revision, end="Complete")
    told = result(revision, artifact=published(revision), candidates=CANDIDATES)
    pod = pod_of(done, phase="Succeeded", state=ended(0, told))
    complete = status(
        seen(resource(status=running.to_json()), source=newest, jobs=[done], pods=[pod])
    )
    assert complete.phase == "Complete"
    then = seen(resource(status=complete.to_json()), source=newest, jobs=[done])
    assert order_of(decide(then)).source.revision == "r2-00000002"
    # The package of before stays in use meanwhile.
    updating = compute(then, decide(then))
    assert reasons(updating)["Ready"] == "True Updating"
    assert updating.in_use is not None
    assert updating.in_use.revision == revision.name


@pytest.mark.parametrize("source", [None, fine_tune_job(), fine_tune_job(state="Failed")])
def test_what_was_taken_stays_when_its_source_goes(source: Obj | None) -> None:
    revision, manifest = started()
    job = stored(manifest, revision)
    before = status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod_of(job)]))
    gone = seen(resource(status=before.to_json()), source=source, jobs=[job], pods=[pod_of(job)])
    plan = decide(gone)
    assert not deleted_by(plan)
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
    assert not plan.created
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
    assert revisions_deleted_by(plan) == [revision.name]
    held = compute(waiting, plan)
    assert held.revision is None
    assert held.source is None
    assert held.history[0].revision == revision.name
    assert "GatesPassed" in reasons(held)
    edited = resource(other, generation=2, status=held.to_json())
    # The old Job's pod is still there; its revision isn't taken for the new one.
    source = fine_tune_job("other", published=1)
    plan = decide(seen(edited, source=source, jobs=[job], pods=[pod_of(job)]))
    assert not plan.created
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")
    assert revisions_deleted_by(plan) == [revision.name]


def test_a_changed_hash_without_a_change_builds_nothing_anew() -> None:
    done = completed().to_json() | {"revision": "r1-00000000"}
    plan = decide(seen(resource(status=done), source=fine_tune_job(published=1)))
    assert plan.ended
    assert not plan.created


def test_suspended_before_and_after_the_source_is_there() -> None:
    suspended = resource(BY_JOB | {"suspend": True})
    waiting = status(seen(suspended, source=fine_tune_job()))
    assert waiting.phase == "Suspended"
    assert reasons(waiting)["Suspended"] == "True Suspended"
    plan = decide(seen(suspended, source=fine_tune_job(published=1)))
    assert not plan.created
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
