"""The chain of checks, one by one."""

from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    OWNER,
    job_of,
    observed,
    platform,
    pod_of,
    resource,
    spec,
)

from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.run.model import Revision

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)


def status_of(*conditions: str, **fields: Any) -> dict[str, Any]:
    """A status of generation 1, revision 1, with these conditions true."""
    return {
        "observedGeneration": 1,
        "revision": FIRST.name,
        "attempt": 1,
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": "Because",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind in conditions
        ],
        **fields,
    }


def test_a_new_resource_gets_a_job() -> None:
    plan = decide(observed())
    assert plan.revision == FIRST
    assert [obj["kind"] for obj in plan.create] == ["Job"]
    assert not plan.delete


def test_a_job_that_is_there_is_not_created_again() -> None:
    # As after a SIGKILL between the Job's creation and the status: there is no status yet.
    plan = decide(observed(jobs=[job_of(FIRST)]))
    assert plan.create == ()
    assert plan.job is not None
    assert compute(observed(jobs=[job_of(FIRST)]), plan).revision == FIRST.name


def test_another_owners_job_is_not_ours() -> None:
    theirs = job_of(FIRST)
    theirs["metadata"]["ownerReferences"][0]["uid"] = "somebody"
    assert decide(observed(jobs=[theirs])).create


def test_a_changed_shape_stops_the_old_job_and_waits_for_its_pod() -> None:
    job = job_of(FIRST)
    changed = resource(generation=2, status=status_of(), training={"maxSteps": 7})
    plan = decide(observed(changed, jobs=[job], pods=[pod_of(job)]))
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")
    assert [it.name for it in plan.delete] == [job["metadata"]["name"]]
    assert plan.create == ()
    assert plan.hold is not None
    assert plan.hold.reason == "Stopping"
    # Its pod still counts when the Job is gone from the store.
    assert decide(observed(changed, pods=[pod_of(job)])).create == ()
    assert decide(observed(changed)).create


def test_a_changed_hash_without_a_new_generation_retrains_nobody() -> None:
    # An operator whose hash differs meets a fleet that has run.
    status = status_of("Complete") | {"revision": "r1-00000000"}
    plan = decide(observed(resource(status=status)))
    assert plan.revision is not None
    assert plan.revision.name == "r1-00000000"
    assert plan.ended
    assert plan.create == ()


def test_a_change_beside_the_shape_keeps_the_revision() -> None:
    changed = resource(generation=2, status=status_of("Complete"), checkpoints={"keepLast": 9})
    plan = decide(observed(changed))
    assert plan.ended
    assert plan.revision == FIRST
    status = compute(observed(changed), plan)
    assert {it.observed_generation for it in status.conditions} == {2}
    assert {it.last_transition_time for it in status.conditions} == {"2026-01-01T00:00:00Z"}


def test_a_run_that_ended_is_never_run_again_without_its_job() -> None:
    for kind in ("Complete", "Failed"):
        plan = decide(observed(resource(status=status_of(kind))))
        assert plan.ended
        assert plan.create == ()


@pytest.mark.parametrize(
    ("retry", "served", "attempt"), [("b", "a", 2), ("a", "a", 1), (None, "a", 1), ("a", None, 2)]
)
def test_a_failed_run_is_retried_once_for_each_token(
    retry: str | None, served: str | None, attempt: int
) -> None:
    status = status_of("Failed", **({"retryToken": served} if served else {}))
    plan = decide(observed(resource(status=status, retry=retry)))
    assert plan.revision is not None
    assert plan.revision.attempt == attempt
    assert bool(plan.create) == (attempt == 2)


def test_a_failed_run_is_retried_for_a_changed_spec() -> None:
    changed = resource(generation=2, status=status_of("Failed"), limits={"maxRestarts": 9})
    plan = decide(observed(changed))
    assert plan.revision == Revision(FIRST.name, 2, SHAPE)


def test_a_retry_of_a_complete_or_running_run_is_only_noted() -> None:
    plan = decide(observed(resource(status=status_of("Complete"), retry="x")))
    assert plan.revision == FIRST
    assert plan.retry_token == "x"
    plan = decide(observed(resource(status=status_of(), retry="x"), jobs=[job_of(FIRST)]))
    assert plan.revision == FIRST
    assert plan.create == ()


def test_suspend_is_kept_in_step() -> None:
    plan = decide(observed(resource(suspend=True), jobs=[job_of(FIRST)]))
    assert plan.patch == {"spec": {"suspend": True}}
    plan = decide(observed(resource(), jobs=[job_of(FIRST, suspend=True)]))
    assert plan.patch == {"spec": {"suspend": False}}
    assert decide(observed(resource(suspend=True))).create == ()


def test_a_queued_jobs_suspend_is_kueues() -> None:
    job = job_of(FIRST, suspend=True)
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team"
    assert decide(observed(resource(), jobs=[job])).patch is None
    job["spec"]["suspend"] = False
    assert decide(observed(resource(suspend=True), jobs=[job])).patch is None


def test_the_ttl_is_set_only_when_the_end_is_on_record() -> None:
    ttl: dict[str, Any] = {"limits": {"ttlSecondsAfterFinished": 60}}
    done = job_of(FIRST, end="Complete")
    assert decide(observed(resource(**ttl), jobs=[done])).patch is None
    plan = decide(observed(resource(status=status_of("Complete"), **ttl), jobs=[done]))
    assert plan.patch == {"spec": {"ttlSecondsAfterFinished": 60}}
    done["spec"]["ttlSecondsAfterFinished"] = 60
    plan = decide(observed(resource(status=status_of("Complete"), **ttl), jobs=[done]))
    assert plan.patch is None


def test_a_spec_that_cannot_be_read_is_terminal_and_names_the_field() -> None:
    bad = resource(training={"maxSteps": 100, "learningRate": "fast"})
    plan = decide(observed(bad))
    assert plan.hold is not None
    assert plan.hold.terminal
    assert "spec.training.learningRate" in plan.hold.message
    status = compute(observed(bad), plan)
    assert {it.type: it.reason for it in status.conditions if it.status == "True"} == {
        "Stalled": "InvalidSpec"
    }
    # Corrected, by an operator that can read it too, it runs.
    healed = resource(status=status.to_json())
    assert decide(observed(healed)).create


def test_a_running_job_is_left_alone_when_the_platform_changes() -> None:
    placed = resource(placement={"pool": "gone"})
    assert decide(observed(placed)).hold is not None
    plan = decide(observed(placed, jobs=[job_of(FIRST)]))
    assert plan.hold is None
    assert plan.job is not None


def test_without_a_status_the_newest_job_tells_the_revision() -> None:
    third = Revision(revision_name(3, SHAPE), 2, SHAPE)
    plan = decide(observed(jobs=[job_of(FIRST, end="Failed"), job_of(third)]))
    assert plan.revision == third


def test_deciding_is_pure() -> None:
    seen = observed()
    assert decide(seen) == decide(seen)
    assert (OWNER.name, platform().default_pool, NOW.year) == ("tone", "cpu", 2026)
