"""The chain of checks, one by one."""

from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    OWNER,
    changes_in,
    deleted_by,
    job_of,
    observed,
    platform,
    pod_of,
    resource,
    spec,
)

from luthier_api.revision import attempt_hash, revision_name, shape_hash
from luthier_operator.conditions import find
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import SUSPENDED_ANNOTATION
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import Revision
from luthier_operator.run.workload import JOB

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
    assert [obj["kind"] for obj in plan.created] == ["Job"]
    assert not deleted_by(plan)


def test_a_job_that_is_there_is_not_created_again() -> None:
    # As after a SIGKILL between the Job's creation and the status: there is no status yet.
    plan = decide(observed(jobs=[job_of(FIRST)]))
    assert not plan.created
    assert plan.job is not None
    assert compute(observed(jobs=[job_of(FIRST)]), plan).revision == FIRST.name


def test_another_owners_job_is_not_ours() -> None:
    theirs = job_of(FIRST)
    theirs["metadata"]["ownerReferences"][0]["uid"] = "somebody"
    assert decide(observed(jobs=[theirs])).created


def test_a_changed_shape_stops_the_old_job_and_waits_for_its_pod() -> None:
    job = job_of(FIRST)
    changed = resource(generation=2, status=status_of(), training={"maxSteps": 7})
    plan = decide(observed(changed, jobs=[job], pods=[pod_of(job)]))
    assert plan.revision is not None
    assert plan.revision.name.startswith("r2-")
    assert deleted_by(plan) == [job]
    assert not plan.created
    assert plan.hold is not None
    assert plan.hold.reason == "Stopping"
    # Its pod still counts when the Job is gone from the store.
    assert decide(observed(changed, pods=[pod_of(job)])).created == ()
    assert decide(observed(changed)).created


def test_a_changed_hash_without_a_new_generation_retrains_nobody() -> None:
    # An operator whose hash differs meets a fleet that has run.
    status = status_of("Complete") | {"revision": "r1-00000000"}
    plan = decide(observed(resource(status=status)))
    assert plan.revision is not None
    assert plan.revision.name == "r1-00000000"
    assert plan.ended
    assert not plan.created


def test_a_change_beside_the_shape_keeps_the_revision() -> None:
    changed = resource(generation=2, status=status_of("Complete"), checkpoints={"keepLast": 9})
    plan = decide(observed(changed))
    assert plan.ended
    assert plan.revision == FIRST
    status = compute(observed(changed), plan)
    assert {it.observed_generation for it in status.conditions} == {2}
    complete = find(status.conditions, "Complete")
    assert complete is not None
    assert complete.last_transition_time == "2026-01-01T00:00:00Z"


def test_a_run_that_ended_is_never_run_again_without_its_job() -> None:
    for kind in ("Complete", "Failed"):
        plan = decide(observed(resource(status=status_of(kind))))
        assert plan.ended
        assert not plan.created


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
    assert bool(plan.created) == (attempt == 2)


def test_a_failed_run_is_retried_for_a_changed_spec() -> None:
    changed = resource(generation=2, status=status_of("Failed"), limits={"maxRestarts": 9})
    plan = decide(observed(changed))
    assert plan.revision == Revision(FIRST.name, 2, SHAPE)


def failed(**fields: Any) -> dict[str, Any]:
    """A status of generation 1 after an attempt that ran with a spec of these fields."""
    return status_of("Failed", attemptHash=attempt_hash(spec(**fields)))


@pytest.mark.parametrize(
    "edit",
    [
        {"suspend": True},
        {"limits": {"ttlSecondsAfterFinished": 60}},
        {"deletionPolicy": "Delete"},
    ],
    ids=str,
)
def test_a_failed_run_stays_so_where_an_edit_can_change_nothing(edit: dict[str, Any]) -> None:
    plan = decide(observed(resource(generation=2, status=failed(), **edit)))
    assert plan.revision == FIRST
    assert plan.ended


@pytest.mark.parametrize(
    "edit",
    [
        {"limits": {"activeDeadlineSeconds": 60}},
        {"placement": {"pool": "other"}},
        {"storage": {"secretName": "other"}},
        {"training": {"maxSteps": 100, "dataloaderWorkers": 0}},
        {"evaluation": {"batchSize": 4}},
    ],
    ids=str,
)
def test_the_next_attempt_is_for_an_edit_that_can_change_its_end(edit: dict[str, Any]) -> None:
    plan = decide(observed(resource(generation=2, status=failed(), **edit)))
    assert plan.revision == Revision(FIRST.name, 2, SHAPE)
    # Back to what failed: no reason to try again.
    assert decide(observed(resource(generation=3, status=failed()))).ended


def test_fewer_workers_after_a_failure_go_on_from_the_checkpoint() -> None:
    job = job_of(FIRST, end="Failed", reason="BackoffLimitExceeded")
    seen = observed(resource(status=status_of()), jobs=[job])
    status = compute(seen, decide(seen)).to_json()
    assert status["attemptHash"] == attempt_hash(spec())
    edited = resource(
        generation=2, status=status, training={"maxSteps": 100, "dataloaderWorkers": 0}
    )
    plan = decide(observed(edited, jobs=[job]))
    assert plan.revision == Revision(FIRST.name, 2, SHAPE)
    assert plan.created
    again = compute(observed(edited, jobs=[job]), plan)
    assert again.attempt_hash != status["attemptHash"]


def test_an_edit_that_does_not_reach_a_running_run_is_for_its_next_attempt() -> None:
    """Its Job was made before: that is what the attempt runs with, and fails with."""
    edit = {"storage": {"secretName": "other"}}
    status = status_of(attemptHash=attempt_hash(spec()))
    job = job_of(FIRST)
    running = observed(
        resource(generation=2, status=status, **edit), jobs=[job], pods=[pod_of(job)]
    )
    told = compute(running, decide(running))
    assert told.attempt_hash == attempt_hash(spec())
    job = job_of(FIRST, end="Failed", reason="BackoffLimitExceeded")
    ended = observed(resource(generation=2, status=told.to_json(), **edit), jobs=[job])
    told = compute(ended, decide(ended))
    later = decide(observed(resource(generation=2, status=told.to_json(), **edit), jobs=[job]))
    assert later.revision == Revision(FIRST.name, 2, SHAPE)
    # While there is no Job, the newest spec is what the attempt will run with.
    waiting = observed(resource(generation=2, status=status, suspend=True, **edit))
    told = compute(waiting, decide(waiting))
    assert told.attempt_hash == attempt_hash(spec(**edit))


def test_an_edit_that_reaches_a_running_run_is_no_reason_for_another_attempt() -> None:
    edit = {"limits": {"activeDeadlineSeconds": 60}}
    status = status_of(attemptHash=attempt_hash(spec()))
    running = observed(resource(generation=2, status=status, **edit), jobs=[job_of(FIRST)])
    plan = decide(running)
    assert changes_in(plan) == [{"spec": {"activeDeadlineSeconds": 60}}]
    told = compute(running, plan)
    assert told.attempt_hash == attempt_hash(spec(**edit))
    job = job_of(FIRST, end="Failed", reason="DeadlineExceeded")
    ended = observed(resource(generation=2, status=told.to_json(), **edit), jobs=[job])
    told = compute(ended, decide(ended))
    later = decide(observed(resource(generation=2, status=told.to_json(), **edit), jobs=[job]))
    assert later.revision == FIRST
    assert later.ended


def test_a_corrected_spec_is_no_new_attempt_by_itself() -> None:
    bad = observed(resource(generation=2, status=failed(), task="translation"))
    status = compute(bad, decide(bad)).to_json()
    plan = decide(observed(resource(generation=3, status=status)))
    assert plan.revision == FIRST
    assert plan.ended


def test_how_a_run_is_carried_out_opens_no_revision() -> None:
    training = {"maxSteps": 100, "saveEverySteps": 7, "logEverySteps": 1}
    changed = resource(generation=2, status=status_of("Complete"), training=training)
    plan = decide(observed(changed))
    assert plan.revision == FIRST
    assert plan.ended


def test_a_retry_of_a_complete_or_running_run_is_only_noted() -> None:
    plan = decide(observed(resource(status=status_of("Complete"), retry="x")))
    assert plan.revision == FIRST
    assert plan.retry_token == "x"
    plan = decide(observed(resource(status=status_of(), retry="x"), jobs=[job_of(FIRST)]))
    assert plan.revision == FIRST
    assert not plan.created


def test_suspend_is_kept_in_step() -> None:
    plan = decide(observed(resource(suspend=True), jobs=[job_of(FIRST)]))
    assert changes_in(plan) == [JOB.suspend(True)]
    stopped = job_of(FIRST, suspend=True)
    stopped["metadata"]["annotations"][SUSPENDED_ANNOTATION] = "true"
    assert changes_in(decide(observed(resource(), jobs=[stopped]))) == [JOB.suspend(False)]
    # An operator of before left no mark, but a status.
    stopped = job_of(FIRST, suspend=True)
    seen = observed(resource(status=status_of("Suspended")), jobs=[stopped])
    assert changes_in(decide(seen)) == [JOB.suspend(False)]
    assert decide(observed(resource(suspend=True))).created == ()


def test_what_somebody_else_suspended_is_left_to_them() -> None:
    seen = observed(resource(), jobs=[job_of(FIRST, suspend=True)])
    plan = decide(seen)
    assert not changes_in(plan)
    scheduled = find(compute(seen, plan).conditions, "Scheduled")
    assert scheduled is not None
    assert scheduled.reason == "SuspendedElsewhere"


def test_a_queued_jobs_suspend_is_kueues() -> None:
    job = job_of(FIRST, suspend=True)
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team"
    assert not changes_in(decide(observed(resource(), jobs=[job])))
    job["spec"]["suspend"] = False
    assert not changes_in(decide(observed(resource(suspend=True), jobs=[job])))


def test_the_ttl_is_set_only_when_the_end_is_on_record() -> None:
    ttl: dict[str, Any] = {"limits": {"ttlSecondsAfterFinished": 60}}
    done = job_of(FIRST, end="Complete")
    assert not changes_in(decide(observed(resource(**ttl), jobs=[done])))
    plan = decide(observed(resource(status=status_of("Complete"), **ttl), jobs=[done]))
    assert changes_in(plan) == [{"spec": {"ttlSecondsAfterFinished": 60}}]
    done["spec"]["ttlSecondsAfterFinished"] = 60
    plan = decide(observed(resource(status=status_of("Complete"), **ttl), jobs=[done]))
    assert not changes_in(plan)


def test_the_platforms_ttl_is_set_where_the_spec_says_none() -> None:
    done = job_of(FIRST, end="Complete")
    days = platform().model_copy(update={"ttl_seconds_after_finished": 604_800})
    ended = observed(resource(status=status_of("Complete")), jobs=[done], platform=days)
    assert changes_in(decide(ended)) == [JOB.ttl(604_800)]


def test_of_finished_jobs_the_newest_are_kept() -> None:
    older = [Revision(revision_name(1, SHAPE), attempt, SHAPE) for attempt in range(1, 15)]
    jobs = [job_of(each, end="Failed") for each in older]
    status = status_of(attempt=15)
    plan = decide(observed(resource(status=status), jobs=jobs))
    assert sorted(attempts_deleted_by(plan)) == [1, 2, 3, 4]
    assert [obj["kind"] for obj in plan.created] == ["Job"]
    assert not deleted_by(decide(observed(resource(status=status), jobs=jobs[:10])))
    # The wanted one stays, however many there are beside it.
    status = status_of("Failed", attempt=1)
    plan = decide(observed(resource(status=status), jobs=jobs))
    assert min(attempts_deleted_by(plan)) == 2


def attempts_deleted_by(plan: Plan) -> list[int]:
    return [int(obj["metadata"]["labels"]["luthier.dev/attempt"]) for obj in deleted_by(plan)]


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
    assert decide(observed(healed)).created


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
