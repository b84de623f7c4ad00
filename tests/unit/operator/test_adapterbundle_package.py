"""An AdapterBundle: its package in use, and those before it."""

import pytest
from unit.operator.adapterbundle_support import (
    BOTH,
    BUNDLE,
    MOOD,
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
    ended,
    fine_tune_job,
    message,
    pod_of,
    reasons,
    result,
    revisions_deleted_by,
    stored,
)

from luthier_operator.adapterbundle.decide import decide
from luthier_operator.adapterbundle.status import compute


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


def test_a_build_ends_before_newer_adapters_are_taken_and_then_all_of_them_at_once() -> None:
    revision, manifest = run(resource(), *BOTH)
    job = stored(manifest, revision)
    running = status(seen(resource(), *BOTH, jobs=[job], pods=[pod_of(job)]))
    now = running
    # However often they are published while it builds.
    for number in (2, 3):
        newer = (fine_tune_job("tone", published=number), BOTH[1])
        later = seen(resource(status=now.to_json()), *newer, jobs=[job], pods=[pod_of(job)])
        plan = decide(later)
        assert plan.revision == revision
        assert plan.actions == ()
        now = compute(later, plan)
        assert now.adapters == running.adapters
    done = stored(manifest, revision, end="Complete")
    told = result(revision, artifact=package(revision))
    pod = pod_of(done, phase="Succeeded", state=ended(0, told))
    complete = status(seen(resource(status=now.to_json()), *newer, jobs=[done], pods=[pod]))
    assert complete.phase == "Complete"
    order = order_of(decide(seen(resource(status=complete.to_json()), *newer, jobs=[done])))
    assert order.run.revision.startswith("r2-")
    assert order.adapters[0].source.revision == "r3-00000003"


def test_an_edited_spec_stops_the_build() -> None:
    revision, manifest = run(resource(), *BOTH)
    job = stored(manifest, revision)
    running = status(seen(resource(), *BOTH, jobs=[job], pods=[pod_of(job)]))
    edited = resource(BUNDLE | {"precision": "int4"}, generation=2, status=running.to_json())
    now = seen(edited, *BOTH, jobs=[job], pods=[pod_of(job)])
    plan = decide(now)
    assert revisions_deleted_by(plan) == [revision.name]
    assert plan.hold is not None
    assert plan.hold.reason == "Stopping"


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


def test_a_spec_that_cannot_be_read_keeps_what_is_there() -> None:
    first = built(resource(), *BOTH)
    bad = seen(resource(BUNDLE | {"keepLast": 99}, generation=2, status=first.to_json()), *BOTH)
    now = status(bad)
    assert reasons(now)["Stalled"] == "True InvalidSpec"
    assert now.current == first.current
