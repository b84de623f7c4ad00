"""An AdapterBundle: its adapters, its order, what is told of each."""

import pytest
from unit.operator.adapterbundle_support import (
    BOTH,
    BUNDLE,
    OF_JOBS,
    TONE,
    TOPIC,
    Obj,
    broken,
    built,
    order_of,
    package,
    resource,
    run,
    seen,
    states,
    status,
)
from unit.operator.builders import (
    SPEC,
    ended,
    fine_tune_job,
    message,
    platform,
    pod_of,
    reasons,
    stored,
)

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.finetunejob import Progress
from luthier_api.progress import ProgressReport
from luthier_api.result import AdapterEnd, BundleResult
from luthier_operator.adapterbundle.decide import decide
from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.adapterbundle.status import compute
from luthier_operator.patches import merge_diff
from luthier_operator.run.events import transitions


def test_with_no_adapter_ready_nothing_is_built() -> None:
    observed = seen(resource(OF_JOBS), fine_tune_job("tone"))
    plan = decide(observed)
    assert not plan.created
    held = compute(observed, plan)
    assert held.phase == "Pending"
    assert reasons(held) == {
        "Ready": "False AdaptersNotReady",
        "Reconciling": "True AdaptersNotReady",
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
    assert not plan.created
    assert plan.hold is not None
    assert plan.hold.reason == "AdaptersNotReady"
    held = compute(seen(resource(strict), one, fine_tune_job("mood")), plan)
    assert reasons(held)["Ready"] == "False AdaptersNotReady"
    assert reasons(held)["Stalled"] == "False Progressing"
    # A failed one is told as what it is.
    failed = status(seen(resource(strict), one, fine_tune_job("mood", state="Failed")))
    assert reasons(failed)["Stalled"] == "True AdaptersNotReady"
    assert decide(seen(resource(strict), *BOTH)).created


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
    notes = transitions(AdapterBundleStatus(), done, ADAPTER_BUNDLE.events)
    assert [(it.reason, it.warning) for it in notes if it.warning] == [("AdaptersLeftOut", True)]
    kept = status(seen(resource(status=done.to_json()), *BOTH))
    assert kept == done
    # The next package has it, once it says nothing against it.
    sources = (BOTH[0], fine_tune_job("mood", published=2))
    assert states(status(seen(resource(status=done.to_json()), *sources)))["mood"] == "Pending"
    healed = built(resource(status=done.to_json()), *sources)
    assert states(healed)["mood"] == "Included"


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


def test_rows_are_mounted_where_they_decide() -> None:
    source = fine_tune_job(
        "tone", published=1, dataset=SPEC["dataset"] | {"uri": "pvc://rows/a.csv"}
    )
    mood = fine_tune_job(
        "mood", published=1, dataset=SPEC["dataset"] | {"uri": "configmap://mood/a.csv"}
    )

    def volumes(spec: Obj) -> list[Obj]:
        plan = decide(seen(resource(spec), source, mood))
        found: list[Obj] = plan.created[-1]["spec"]["template"]["spec"]["volumes"]
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
    assert decide(seen(resource(spec), *BOTH, platform=allowed)).created
