"""An AdapterBundle: its adapters, its order, its package in use."""

from dataclasses import replace
from typing import Any

import pytest
from unit.operator.builders import (
    SPEC,
    around,
    ended,
    fine_tune_job,
    message,
    order_in,
    owned,
    platform,
    pod_of,
    reasons,
    result,
    stored,
)

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.finetunejob import Progress
from luthier_api.progress import ProgressReport
from luthier_api.result import AdapterEnd, BundleResult
from luthier_api.runspec import BundleOrder
from luthier_operator.adapterbundle.decide import decide
from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.adapterbundle.observe import Observed, observe
from luthier_operator.adapterbundle.status import compute
from luthier_operator.patches import merge_diff
from luthier_operator.run.decide import Plan
from luthier_operator.run.events import transitions
from luthier_operator.run.model import Revision

Obj = dict[str, Any]

TONE: Obj = {"name": "tone", "fineTuneJobRef": {"name": "tone"}}
MOOD: Obj = {"name": "mood", "fineTuneJobRef": {"name": "mood"}}
TOPIC: Obj = {"name": "topic", "uri": "s3://adapters/topic"}
BUNDLE: Obj = {
    "base": {"uri": "s3://models/smollm2"},
    "adapters": [TONE, MOOD, TOPIC],
    "output": {"uri": "s3://artifacts/models"},
}
OF_JOBS = BUNDLE | {"adapters": [TONE, MOOD]}
BOTH = (fine_tune_job("tone", published=1), fine_tune_job("mood", published=1))


def resource(spec: Obj = BUNDLE, **fields: Any) -> Obj:
    return owned("AdapterBundle", "voices", spec, **fields)


def seen(
    obj: Obj | None = None,
    *sources: Obj,
    jobs: list[Obj] | None = None,
    pods: list[Obj] | None = None,
    **changes: Any,
) -> Observed:
    known = around(jobs=jobs, pods=pods, fine_tune_jobs=list(sources))
    return observe(obj or resource(), replace(known, **changes))


def order_of(plan: Plan) -> BundleOrder:
    order = order_in(plan)
    assert isinstance(order, BundleOrder)
    return order


def status(observed: Observed) -> AdapterBundleStatus:
    return compute(observed, decide(observed))


def states(of: AdapterBundleStatus) -> dict[str, str]:
    return {it.name: it.state for it in of.adapters}


def package(revision: Revision) -> Obj:
    uri = f"s3://artifacts/models/team/voices/{revision.name}"
    return {"uri": uri, "manifestSha256": "e" * 64}


def run(obj: Obj, *sources: Obj) -> tuple[Revision, Obj]:
    """The revision that is wanted, and its Job's manifest."""
    plan = decide(seen(obj, *sources))
    assert plan.revision is not None
    return plan.revision, plan.create[-1]


def built(obj: Obj, *sources: Obj, **told: Any) -> AdapterBundleStatus:
    """The status after the wanted revision has been published; `told`: of its result."""
    revision, manifest = run(obj, *sources)
    job = stored(manifest, revision, end="Complete")
    own = {"artifact": package(revision), "proof": {"adapters": 3, "isolated": True}}
    pod = pod_of(job, phase="Succeeded", state=ended(0, result(revision, **(own | told))))
    return status(seen(obj, *sources, jobs=[job], pods=[pod]))


def broken(obj: Obj, *sources: Obj, **told: Any) -> AdapterBundleStatus:
    """The status after the wanted revision has failed."""
    revision, manifest = run(obj, *sources)
    job = stored(manifest, revision, end="Failed", reason="PodFailurePolicy")
    error = {"code": "BaseUnknown", "message": "no such architecture"}
    end = result(revision, **({"outcome": "Failed", "error": error} | told))
    pod = pod_of(job, phase="Failed", state=ended(78, end))
    return status(seen(obj, *sources, jobs=[job], pods=[pod]))


def test_with_no_adapter_ready_nothing_is_built() -> None:
    observed = seen(resource(OF_JOBS), fine_tune_job("tone"))
    plan = decide(observed)
    assert plan.create == ()
    held = compute(observed, plan)
    assert held.phase == "Pending"
    assert reasons(held) == {
        "Ready": "False AdaptersNotReady",
        "Stalled": "False Progressing",
        "Scheduled": "False AdaptersNotReady",
        "AdaptersReady": "False AdaptersNotReady",
        "Running": "False Pending",
    }
    assert "tone, mood" in message(held, "AdaptersReady")
    assert "There is no FineTuneJob mood" in message(held, "AdaptersReady")
    assert [(it.name, it.state, it.reason) for it in held.adapters] == [
        ("tone", "Pending", "SourceNotReady"),
        ("mood", "Pending", "SourceNotFound"),
    ]
    again = status(seen(resource(OF_JOBS, status=held.to_json()), fine_tune_job("tone")))
    assert merge_diff(held.to_json(), again.to_json()) == {}


def test_what_is_ready_is_built_and_the_rest_is_named() -> None:
    observed = seen(resource(), fine_tune_job("tone", published=1), fine_tune_job("mood"))
    order = order_of(decide(observed))
    assert order.run.kind == "AdapterBundle"
    assert [(it.name, it.source.to_json()) for it in order.adapters] == [
        (
            "tone",
            {
                "uri": "s3://artifacts/models/team/tone/r1-00000001",
                "revision": "r1-00000001",
                "manifestSha256": f"{1:064}",
            },
        ),
        ("topic", {"uri": "s3://adapters/topic"}),
    ]
    assert order.previous is None
    assert (order.keep_last, order.expendable) == (3, [])
    now = status(observed)
    assert reasons(now)["AdaptersReady"] == "False AdaptersNotReady"
    assert message(now, "AdaptersReady").startswith("Without a result: mood.")
    assert states(now) == {"tone": "Pending", "mood": "Pending", "topic": "Pending"}


def test_fail_waits_for_every_adapter() -> None:
    strict = BUNDLE | {"onIncompatible": "Fail"}
    one = fine_tune_job("tone", published=1)
    plan = decide(seen(resource(strict), one, fine_tune_job("mood")))
    assert plan.create == ()
    assert plan.hold is not None
    assert plan.hold.reason == "AdaptersNotReady"
    held = compute(seen(resource(strict), one, fine_tune_job("mood")), plan)
    assert reasons(held)["Ready"] == "False AdaptersNotReady"
    assert reasons(held)["Stalled"] == "False Progressing"
    # A failed one is told as what it is.
    failed = status(seen(resource(strict), one, fine_tune_job("mood", state="Failed")))
    assert reasons(failed)["Stalled"] == "True AdaptersNotReady"
    assert decide(seen(resource(strict), *BOTH)).create


def test_built() -> None:
    done = built(resource(), *BOTH)
    assert done.phase == "Complete"
    assert states(done) == {"tone": "Included", "mood": "Included", "topic": "Included"}
    assert reasons(done) == {
        "Ready": "True Published",
        "Stalled": "False Completed",
        "Complete": "True Completed",
        "AdaptersReady": "True Ready",
        "Running": "False Finished",
        "AdaptersCompatible": "True AllIncluded",
    }
    assert done.current is not None
    assert message(done, "Ready") == done.current.uri
    assert done.proof is not None
    assert done.proof.isolated
    # On record: the Job and its pod may go.
    assert status(seen(resource(status=done.to_json()), *BOTH)) == done


def test_an_adapter_that_does_not_fit_is_named() -> None:
    ends = [
        {"name": "tone", "included": True},
        {
            "name": "mood",
            "included": False,
            "code": "OtherBase",
            "message": "trained on another base",
        },
    ]
    done = built(resource(), *BOTH, adapters=ends)
    assert done.phase == "Complete"
    assert states(done) == {"tone": "Included", "mood": "LeftOut", "topic": "Included"}
    assert reasons(done)["AdaptersCompatible"] == "False AdaptersLeftOut"
    assert message(done, "AdaptersCompatible") == "mood (OtherBase): trained on another base"
    assert reasons(done)["Ready"] == "True Published"
    notes = transitions(AdapterBundleStatus(), done, ADAPTER_BUNDLE.told)
    assert [(it.reason, it.warning) for it in notes if it.warning] == [("AdaptersLeftOut", True)]
    kept = status(seen(resource(status=done.to_json()), *BOTH))
    assert kept == done
    # The next package has it, once it says nothing against it.
    sources = (BOTH[0], fine_tune_job("mood", published=2))
    assert states(status(seen(resource(status=done.to_json()), *sources)))["mood"] == "Pending"
    healed = built(resource(status=done.to_json()), *sources)
    assert states(healed)["mood"] == "Included"


@pytest.mark.parametrize(
    ("spec", "sources"),
    [
        (BUNDLE, (fine_tune_job("tone", published=2), BOTH[1])),  # a newer result
        (BUNDLE | {"adapters": [TONE, TOPIC]}, BOTH),  # removed
        (BUNDLE | {"adapters": [*BUNDLE["adapters"], {"name": "x", "uri": "s3://a/x"}]}, BOTH),
        (BUNDLE | {"adapters": [TONE, MOOD, TOPIC | {"uri": "s3://adapters/other"}]}, BOTH),
        (BUNDLE | {"precision": "int4"}, BOTH),
    ],
)
def test_a_change_of_the_adapters_makes_a_package_and_the_old_one_stays_meanwhile(
    spec: Obj, sources: tuple[Obj, ...]
) -> None:
    first = built(resource(), *BOTH)
    assert first.current is not None
    generation = 1 if spec == BUNDLE else 2
    changed = resource(spec, generation=generation, status=first.to_json())
    observed = seen(changed, *sources)
    plan = decide(observed)
    order = order_of(plan)
    assert order.run.revision.startswith("r2-")
    assert order.previous == first.current.uri
    now = compute(observed, plan)
    assert now.current == first.current
    assert now.proof == first.proof
    assert reasons(now)["Ready"] == "True Updating"
    assert "Complete" not in reasons(now)
    assert message(now, "Ready").startswith(f"{first.current.uri} stays in use.")
    assert now.history[0].artifact_uri == first.current.uri
    second = built(resource(spec, generation=generation, status=now.to_json()), *sources)
    assert second.current is not None
    assert second.current.uri.endswith(order.run.revision)
    assert reasons(second)["Ready"] == "True Published"


def test_a_failed_update_leaves_the_old_package_in_use() -> None:
    first = built(resource(), *BOTH)
    newer = (fine_tune_job("tone", published=2), BOTH[1])
    failed = broken(resource(status=first.to_json()), *newer)
    assert failed.phase == "Failed"
    assert reasons(failed)["Failed"] == "True BaseUnknown"
    assert reasons(failed)["Stalled"] == "True BaseUnknown"
    assert reasons(failed)["Ready"] == "True UpdateFailed"
    assert failed.current == first.current
    assert failed.proof == first.proof
    assert states(failed) == {"tone": "Pending", "mood": "Included", "topic": "Included"}
    assert status(seen(resource(status=failed.to_json()), *newer)) == failed
    # Without an older one there is nothing in use.
    assert reasons(broken(resource(), *BOTH))["Ready"] == "False BaseUnknown"
    # A newer result is another try, and the package that failed isn't among the old ones.
    newest = (fine_tune_job("tone", published=3), BOTH[1])
    third = status(seen(resource(status=failed.to_json()), *newest))
    assert [(it.outcome, it.artifact_uri) for it in third.history] == [
        ("Failed", None),
        ("Complete", first.current.uri if first.current else ""),
    ]


def test_incompatible_adapters_that_fail_the_build_are_named() -> None:
    ends = [{"name": "mood", "included": False, "code": "OtherBase", "message": "another base"}]
    failed = broken(resource(BUNDLE | {"onIncompatible": "Fail"}), *BOTH, adapters=ends)
    assert states(failed) == {"tone": "Pending", "mood": "LeftOut", "topic": "Pending"}
    assert reasons(failed)["AdaptersCompatible"] == "False AdaptersLeftOut"


def test_a_result_without_room_for_all_reasons_leaves_them_as_they_were_told() -> None:
    odd = [{"name": f"odd-{number}", "uri": f"s3://adapters/{number}"} for number in range(40)]
    spec = BUNDLE | {"adapters": [*odd, TOPIC]}
    reason = (
        "trained on a base that isn't this one; " + "train the adapter on this bundle's base " * 4
    )
    ends = [
        AdapterEnd(name=it["name"], included=False, code="OtherBase", message=reason.strip())
        for it in odd
    ]
    revision, manifest = run(resource(spec))
    job = stored(manifest, revision, end="Complete")
    own = {"revision": revision.name, "attempt": revision.attempt, "outcome": "Succeeded"}
    left = BundleResult.model_validate({**own, "adapters": ends, "artifact": package(revision)})
    assert reason.strip() not in left.to_bytes().decode(), "it is cut"
    pod = pod_of(job, phase="Succeeded", state=ended(0, left.to_bytes().decode()))
    identity = order_of(decide(seen(resource(spec)))).run
    told = ProgressReport(
        run=identity, pod=pod["metadata"]["name"], sequence=9, progress=Progress(), adapters=ends
    )
    done = status(seen(resource(spec), jobs=[job], pods=[pod], report=told))
    assert {it.message for it in done.adapters if it.state == "LeftOut"} == {reason.strip()}
    assert states(done)["topic"] == "Included"


@pytest.mark.parametrize(
    "source", [fine_tune_job("tone"), fine_tune_job("tone", state="Failed"), None]
)
def test_an_adapter_stays_while_its_fine_tune_job_makes_another_or_is_gone(
    source: Obj | None,
) -> None:
    first = built(resource(), *BOTH)
    sources = [BOTH[1], *([source] if source else [])]
    later = status(seen(resource(status=first.to_json()), *sources))
    assert later.revision == first.revision
    assert states(later)["tone"] == "Included"
    assert reasons(later)["AdaptersReady"] == "True Ready"
    assert "FineTuneJob tone" in message(later, "AdaptersReady")
    assert reasons(later)["Complete"] == "True Completed"
    # A build for another reason takes it as it was.
    newer = [fine_tune_job("mood", published=2), *([source] if source else [])]
    order = order_of(decide(seen(resource(status=later.to_json()), *newer)))
    assert order.adapters[0].source.revision == "r1-00000001"


def test_another_pending_adapter_changes_nothing_but_the_list() -> None:
    first = built(resource(BUNDLE | {"adapters": [TONE, TOPIC]}), *BOTH)
    more = resource(BUNDLE, generation=2, status=first.to_json())
    plan = decide(seen(more, BOTH[0]))
    assert plan.ended
    now = compute(seen(more, BOTH[0]), plan)
    assert states(now) == {"tone": "Included", "mood": "Pending", "topic": "Included"}
    assert reasons(now)["AdaptersReady"] == "False AdaptersNotReady"
    assert reasons(now)["Ready"] == "True Published"
    assert now.observed_generation == 2


def test_changes_one_after_another_supersede_the_build() -> None:
    revision, manifest = run(resource(), *BOTH)
    job = stored(manifest, revision)
    running = status(seen(resource(), *BOTH, jobs=[job], pods=[pod_of(job)]))
    newer = (fine_tune_job("tone", published=2), BOTH[1])
    now = seen(resource(status=running.to_json()), *newer, jobs=[job], pods=[pod_of(job)])
    plan = decide(now)
    assert [it.revision for it in plan.delete] == [revision.name]
    assert plan.hold is not None
    assert plan.hold.reason == "Stopping"
    superseded = compute(now, plan)
    newest = (fine_tune_job("tone", published=3), BOTH[1])
    # While the pod saves what it has, another one comes: one build for both.
    waiting = seen(resource(status=superseded.to_json()), *newest, pods=[pod_of(job)])
    assert decide(waiting).create == ()
    then = status(waiting)
    order = order_of(decide(seen(resource(status=then.to_json()), *newest)))
    assert order.run.revision.startswith("r3-")
    assert order.adapters[0].source.revision == "r3-00000003"


def test_all_adapters_awaited_again_keeps_the_package() -> None:
    first = built(resource(BUNDLE | {"adapters": [TONE]}), *BOTH)
    other = BUNDLE | {"adapters": [{"name": "tone", "fineTuneJobRef": {"name": "new"}}]}
    now = status(seen(resource(other, generation=2, status=first.to_json())))
    assert now.current == first.current
    assert now.revision is None
    assert reasons(now)["Ready"] == "True Updating"
    assert now.history[0].revision == first.revision
    assert states(now) == {"tone": "Pending"}
    revision, _ = run(
        resource(other, generation=2, status=now.to_json()), fine_tune_job("new", published=1)
    )
    assert revision.name.startswith("r2-")


def test_packages_beyond_keep_last_may_go() -> None:
    spec, obj = BUNDLE | {"keepLast": 2}, resource(BUNDLE | {"keepLast": 2})
    made: list[str] = []
    for number in range(1, 6):
        sources = (fine_tune_job("tone", published=number), BOTH[1])
        order = order_of(decide(seen(obj, *sources)))
        # The new one and the one in use are two.
        assert order.expendable == made[1:]
        done = built(obj, *sources)
        assert done.current is not None
        made.insert(0, done.current.uri)
        obj = resource(spec, status=done.to_json())


def test_the_history_forgets_packages_last() -> None:
    first = built(resource(), *BOTH)
    assert first.current is not None
    package_of_first, now = first.current.uri, first
    for number in range(2, 16):
        sources = (fine_tune_job("tone", published=number), BOTH[1])
        now = status(seen(resource(status=now.to_json()), *sources))
    assert len(now.history) == 10
    assert now.history[-1].artifact_uri == package_of_first
    assert [it.outcome for it in now.history[:9]] == ["Superseded"] * 9
    assert now.history[0].revision.startswith("r14-")


def test_rows_are_mounted_where_they_decide() -> None:
    source = fine_tune_job(
        "tone", published=1, dataset=SPEC["dataset"] | {"uri": "pvc://rows/a.csv"}
    )
    mood = fine_tune_job(
        "mood", published=1, dataset=SPEC["dataset"] | {"uri": "configmap://mood/a.csv"}
    )

    def volumes(spec: Obj) -> list[Obj]:
        plan = decide(seen(resource(spec), source, mood))
        found: list[Obj] = plan.create[-1]["spec"]["template"]["spec"]["volumes"]
        return found

    def config_map(spec: Obj) -> Obj:
        (found,) = [it["configMap"] for it in volumes(spec) if "configMap" in it]
        return dict(found)

    assert config_map(BUNDLE)["optional"] is True
    assert not [it for it in volumes(BUNDLE) if "persistentVolumeClaim" in it]
    judged = BUNDLE | {"maxMetricDrop": 0.01}
    assert config_map(judged)["optional"] is False
    (claim,) = [it for it in volumes(judged) if "persistentVolumeClaim" in it]
    assert claim["persistentVolumeClaim"]["claimName"] == "rows"


def test_a_base_that_the_pool_does_not_allow() -> None:
    spec = BUNDLE | {"base": {"uri": "file:///models/base"}}
    plan = decide(seen(resource(spec), *BOTH))
    assert plan.hold is not None
    assert plan.hold.reason == "FileNotAllowed"
    assert plan.hold.message.startswith("spec.base.uri: /models/base")
    allowed = platform(fileRoots=["/models"])
    assert decide(seen(resource(spec), *BOTH, platform=allowed)).create


def test_a_spec_that_cannot_be_read_keeps_what_is_there() -> None:
    first = built(resource(), *BOTH)
    bad = seen(resource(BUNDLE | {"keepLast": 99}, generation=2, status=first.to_json()), *BOTH)
    now = status(bad)
    assert reasons(now)["Stalled"] == "True InvalidSpec"
    assert now.current == first.current
