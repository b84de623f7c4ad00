"""Each check alone: what it decides, and what it leaves to the next."""

from dataclasses import replace
from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    around,
    ended,
    job_of,
    observed,
    platform,
    pod_of,
    resource,
    spec,
)

from luthier_api.platform import Pool
from luthier_api.revision import revision_name, shape_hash
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.observe import Observed, observe
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import (
    FINE_TUNE_JOBS,
    QUEUE_LABEL,
    SETTINGS_ANNOTATION,
    SUSPENDED_ANNOTATION,
    WORKLOADS,
    Obj,
)
from luthier_operator.run import checks, drift
from luthier_operator.run.actions import Delete, Ensure, Patch
from luthier_operator.run.build import made_of
from luthier_operator.run.checks import Situation
from luthier_operator.run.interruptions import BORNE
from luthier_operator.run.kueue import Admission, parse_admission
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.workload import AT_ONCE, JOB

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)
OWNER = Owner(FINE_TUNE_JOBS, "team", "tone", observed().owner.uid)


def situation(
    seen: Observed, *, refuse: Refusal | None = None, settings: dict[str, str] | None = None
) -> Situation:
    """As `plan_run` makes it, for the first revision."""
    of = seen.spec
    assert of is not None
    job = next((job for job in seen.jobs if job.revision == FIRST.name), None)
    return Situation(
        seen,
        of,
        FIRST,
        job,
        lambda: refuse,
        lambda: [{"kind": "Job"}],
        lambda: settings if settings is not None else made_of(OWNER, of, seen.platform),
    )


def patches(step: checks.Step | None) -> list[Obj]:
    assert step is not None
    return [action.changes for action in step.actions if isinstance(action, Patch)]


def recorded(kind: str = "Complete", **fields: Any) -> Obj:
    condition = {
        "type": kind,
        "status": "True",
        "reason": "Because",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    own = {"observedGeneration": 1, "revision": FIRST.name, "attempt": 1}
    return own | {"conditions": [condition]} | fields


def queued(*, suspended: bool = True) -> Obj:
    job = job_of(FIRST, suspend=suspended)
    job["metadata"]["labels"] = job["metadata"]["labels"] | {QUEUE_LABEL: "team"}
    return job


def admission(*, active: bool = True, ours: bool = False, **conditions: Obj) -> Admission:
    metadata: Obj = {"namespace": "team", "name": "job-tone", "uid": "w"}
    if ours:
        metadata["annotations"] = {SUSPENDED_ANNOTATION: "true"}
    told = [{"type": kind, **it} for kind, it in conditions.items()]
    return parse_admission(
        WORKLOADS,
        {"metadata": metadata, "spec": {"active": active}, "status": {"conditions": told}},
    )


# --- stay_ended ---------------------------------------------------------------------------------


def test_a_run_without_a_recorded_end_has_not_ended() -> None:
    assert checks.stay_ended(situation(observed(jobs=[job_of(FIRST, end="Complete")]))) is None


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_recorded_end_is_the_end_and_sets_the_ttl_once(kind: str) -> None:
    done = job_of(FIRST, end=kind)
    obj = resource(status=recorded(kind), limits={"ttlSecondsAfterFinished": 60})
    step = checks.stay_ended(situation(observed(obj, jobs=[done])))
    assert step is not None
    assert step.ended
    assert patches(step) == [JOB.ttl(60)]
    done["spec"]["ttlSecondsAfterFinished"] = 60
    step = checks.stay_ended(situation(observed(obj, jobs=[done])))
    assert step is not None
    assert step.ended
    assert step.actions == ()


def test_a_job_that_is_gone_or_going_gets_no_ttl() -> None:
    obj = resource(status=recorded(), limits={"ttlSecondsAfterFinished": 60})
    going = job_of(FIRST, end="Complete")
    going["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    for jobs in ([], [going]):
        step = checks.stay_ended(situation(observed(obj, jobs=jobs)))
        assert step is not None
        assert step.actions == ()


def test_the_attempt_before_is_tidied_too() -> None:
    second = Revision(FIRST.name, 2, SHAPE)
    failed = job_of(FIRST, end="Failed")
    status = recorded("Failed") | {"attempt": 2, "conditions": [], "observedGeneration": 1}
    obj = resource(status=status, limits={"ttlSecondsAfterFinished": 60})
    plan = decide(observed(obj, jobs=[failed, job_of(second)]))
    assert plan.revision == second
    assert [(it.obj["metadata"]["name"], it.changes) for it in plan.actions if _is_patch(it)] == [
        (failed["metadata"]["name"], JOB.ttl(60))
    ]


def _is_patch(action: object) -> bool:
    return isinstance(action, Patch)


# --- what becomes of a Job that is there ------------------------------------------------------


def test_a_job_that_is_being_deleted_is_waited_for() -> None:
    job = job_of(FIRST)
    assert checks.await_deletion(situation(observed(jobs=[job]))) is None
    job["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    step = checks.await_deletion(situation(observed(jobs=[job])))
    assert step is not None
    assert step.hold is not None
    assert step.hold.reason == "Stopping"


def test_nothing_is_changed_of_a_job_that_has_ended() -> None:
    assert checks.record_end(situation(observed(jobs=[job_of(FIRST)]))) is None
    changed = resource(limits={"maxRestarts": 9})
    ended_job = situation(observed(changed, jobs=[job_of(FIRST, end="Failed")]))
    assert checks.record_end(ended_job) == checks.Step()


def test_endless_interruptions_end_the_job_once() -> None:
    job = job_of(FIRST)
    pods = [pod_of(job, f"pod-{n}", phase="Failed", state=ended(75)) for n in range(BORNE + 1)]
    borne = situation(observed(jobs=[job], pods=pods[:-1]))
    assert checks.stop_endless_interruptions(borne) is None
    step = checks.stop_endless_interruptions(situation(observed(jobs=[job], pods=pods)))
    assert patches(step) == [{"spec": {"activeDeadlineSeconds": AT_ONCE}}]
    job["spec"]["activeDeadlineSeconds"] = AT_ONCE
    # Nor does a later check give it its deadline back.
    assert not [
        it for it in decide(observed(jobs=[job], pods=pods)).actions if isinstance(it, Patch)
    ]


# --- suspension --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "suspended", "ours", "change"),
    [
        (False, False, False, None),
        (True, False, False, True),
        (True, True, True, None),
        (False, True, True, False),
        (False, True, False, None),  # somebody else's
        (True, True, False, None),
    ],
)
def test_suspend(wanted: bool, suspended: bool, ours: bool, change: bool | None) -> None:
    job = job_of(FIRST, suspend=suspended)
    if ours:
        job["metadata"]["annotations"][SUSPENDED_ANNOTATION] = "true"
    step = checks.suspend(situation(observed(resource(suspend=wanted), jobs=[job])))
    if change is None:
        assert step is None
    else:
        assert patches(step) == [JOB.suspend(change)]
        # And the mark goes with it.
        mark = JOB.suspend(change)["metadata"]["annotations"][SUSPENDED_ANNOTATION]
        assert mark == ("true" if change else None)


@pytest.mark.parametrize(
    ("wanted", "active", "ours", "change"),
    [
        (False, True, False, None),
        (True, True, False, False),
        (True, False, True, None),
        (False, False, True, True),
        (False, False, False, None),  # an administrator's
    ],
)
def test_suspend_of_a_queued_run_is_the_workloads(
    wanted: bool, active: bool, ours: bool, change: bool | None
) -> None:
    for job in (queued(), queued(suspended=False)):
        seen = observed(
            resource(suspend=wanted), jobs=[job], admission=admission(active=active, ours=ours)
        )
        assert checks.suspend(situation(seen)) is None
        step = checks.suspend_in_queue(situation(seen))
        if change is None:
            assert step is None
            continue
        assert step is not None
        [action] = step.actions
        assert isinstance(action, Patch)
        assert action.resource == WORKLOADS
        assert action.changes["spec"] == {"active": change}


def test_a_queued_run_that_kueue_has_not_seen_waits_for_its_workload() -> None:
    seen = observed(resource(suspend=True), jobs=[queued()])
    assert checks.suspend_in_queue(situation(seen)) is None
    assert checks.suspend(situation(seen)) is None


def test_a_job_that_kueue_manages_without_a_queue_is_kueues() -> None:
    seen = observed(jobs=[job_of(FIRST, suspend=True)], admission=admission())
    assert checks.suspend(situation(seen)) is None
    assert checks.suspend_in_queue(situation(seen)) is None


# --- drift ---------------------------------------------------------------------------------------


def made(**placement: Any) -> Obj:
    """A Job that was made of a spec with this placement."""
    job = job_of(FIRST)
    of = spec(placement=placement)
    text = drift.format_settings(made_of(OWNER, of, platform()))
    job["metadata"]["annotations"] = job["metadata"]["annotations"] | {SETTINGS_ANNOTATION: text}
    return job


def test_a_job_of_the_same_settings_stays() -> None:
    assert checks.apply_changed_settings(situation(observed(jobs=[made()]))) is None
    # Nor one of which it isn't known, as of an operator of before.
    unknown = job_of(FIRST)
    unknown["metadata"]["annotations"].pop(SETTINGS_ANNOTATION)
    changed = resource(storage={"secretName": "mine"})
    assert checks.apply_changed_settings(situation(observed(changed, jobs=[unknown]))) is None


@pytest.mark.parametrize("pods", ["none", "pending"])
def test_a_job_whose_container_never_started_is_replaced(pods: str) -> None:
    job = made()
    waiting = pod_of(job, phase="Pending", state={"waiting": {"reason": "ImagePullBackOff"}})
    seen = observed(
        resource(storage={"secretName": "mine"}),
        jobs=[job],
        pods=[waiting] if pods == "pending" else [],
    )
    step = checks.apply_changed_settings(situation(seen))
    assert step is not None
    [action] = step.actions
    assert isinstance(action, Delete)
    assert action.obj == job
    assert "storage" in action.why
    assert step.hold is not None
    assert step.hold.reason == "Replacing"


def test_a_run_that_has_started_takes_them_with_its_next_attempt() -> None:
    job = made()
    obj = resource(generation=2, storage={"secretName": "mine"})
    seen = observed(obj, jobs=[job], pods=[pod_of(job)])
    plan = decide(seen)
    assert plan.later == ("storage",)
    assert plan.actions == ()
    condition = next(it for it in compute(seen, plan).conditions if it.type == "SettingsApplied")
    assert (condition.status, condition.reason) == ("False", "NextAttempt")
    assert "storage" in condition.message


def test_settings_that_are_refused_replace_nothing() -> None:
    refusal = Refusal("PoolNotAllowed", "no", terminal=True)
    changed = situation(
        observed(resource(storage={"secretName": "mine"}), jobs=[made()]), refuse=refusal
    )
    step = checks.apply_changed_settings(changed)
    assert step is not None
    assert step.later == ("storage",)
    assert step.actions == ()


def test_a_pool_that_is_gone_replaces_nothing() -> None:
    def gone() -> dict[str, str]:
        raise LookupError

    changed = replace(situation(observed(jobs=[made()])), settings=gone)
    assert checks.apply_changed_settings(changed) is None


def test_a_queue_more_or_less_takes_another_job() -> None:
    step = checks.apply_changed_settings(
        situation(observed(resource(placement={"queueName": "team"}), jobs=[made()]))
    )
    assert step is not None
    assert isinstance(step.actions[0], Delete)


def test_every_field_of_a_pool_is_about_pods_or_said_not_to_be() -> None:
    known = {
        *("image", "image_pull_policy", "command", "env", "resources", "gpu_resource"),
        *("node_selector", "tolerations", "priority_class_name", "image_pull_secrets"),
        *("run_as_user", "termination_grace_period_seconds", "mounts", "file_roots", "ca"),
        *("cache_claim", "cache_size", "scratch_size", "shared_memory", "proxy"),
        "storage_retry_seconds",
    }
    assert set(Pool.model_fields) - drift.OF_NO_POD - known == set()


def test_settings_survive_their_annotation() -> None:
    settings = made_of(OWNER, spec(placement={"queueName": "team", "gpus": 0}), platform())
    assert drift.parse_settings(drift.format_settings(settings)) == settings
    assert len(drift.format_settings(settings)) < 400
    assert drift.parse_settings(None) == {}
    assert drift.parse_settings("no settings at all") == {}


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "change"),
    [
        ({}, {}),
        ({"activeDeadlineSeconds": 60}, {"activeDeadlineSeconds": 60}),
        ({"maxRestarts": 9}, {"backoffLimit": 9}),
        ({"ttlSecondsAfterFinished": 9}, {}),
    ],
)
def test_limits_are_kept_in_step(limits: Obj, change: Obj) -> None:
    step = checks.keep_limits(situation(observed(resource(limits=limits), jobs=[job_of(FIRST)])))
    assert patches(step) == ([{"spec": change}] if change else [])


def test_a_deadline_that_is_left_out_again_goes() -> None:
    job = job_of(FIRST)
    job["spec"]["activeDeadlineSeconds"] = 60
    step = checks.keep_limits(situation(observed(jobs=[job])))
    assert patches(step) == [{"spec": {"activeDeadlineSeconds": None}}]


def test_a_waiting_job_moves_to_another_queue_and_an_admitted_one_does_not() -> None:
    other = resource(placement={"queueName": "other"})
    step = checks.keep_limits(situation(observed(other, jobs=[queued()])))
    assert patches(step) == [JOB.queue("other")]
    step = checks.keep_limits(situation(observed(other, jobs=[queued(suspended=False)])))
    assert patches(step) == []


# --- before there is a Job ------------------------------------------------------------------------


def test_nothing_is_created_while_suspended() -> None:
    step = checks.stay_suspended(situation(observed(resource(suspend=True))))
    assert step is not None
    assert step.hold is not None
    assert step.hold.reason == "Suspended"
    assert checks.stay_suspended(situation(observed())) is None


def test_what_the_platform_refuses_is_not_created() -> None:
    refusal = Refusal("PoolNotFound", "There is no pool.", terminal=True)
    step = checks.obey_platform(situation(observed(), refuse=refusal))
    assert step is not None
    assert step.hold == refusal
    assert checks.obey_platform(situation(observed())) is None


def test_what_ran_before_is_waited_for() -> None:
    old = job_of(Revision("r9-00000000", 1, SHAPE))
    pod = pod_of(old)
    for seen, name in (
        (observed(jobs=[old]), old["metadata"]["name"]),
        (observed(pods=[pod]), "pod-1"),
    ):
        step = checks.await_predecessors(situation(seen))
        assert step is not None
        assert step.hold is not None
        assert name in step.hold.message
    over = job_of(Revision("r9-00000000", 1, SHAPE), end="Failed")
    assert checks.await_predecessors(situation(observed(jobs=[over]))) is None


def test_the_pod_of_a_deleted_namesake_is_waited_for() -> None:
    # Deleted and applied again while its pod has its grace.
    old = pod_of(job_of(FIRST), "old")
    old["metadata"]["labels"] = old["metadata"]["labels"] | {"luthier.dev/uid": "before"}
    own = pod_of(job_of(FIRST), "own")
    near = replace(around(), namesakes=[old, own])
    seen = observe(resource(), near)
    step = checks.await_namesakes(situation(seen))
    assert step is not None
    assert step.hold is not None
    assert step.hold.reason == "Stopping"
    assert "old" in step.hold.message
    assert "own" not in step.hold.message
    # Nothing else would wake it.
    assert decide(seen).again == checks.NAMESAKE_SECONDS
    assert not decide(seen).created
    old["status"]["phase"] = "Failed"
    assert checks.await_namesakes(situation(observe(resource(), near))) is None


def test_the_last_check_creates() -> None:
    step = checks.create(situation(observed()))
    assert step is not None
    assert step.actions == (Ensure({"kind": "Job"}),)
    assert checks.CHECKS[-1] is checks.create


def test_the_deadline_that_is_quoted_is_the_jobs() -> None:
    job = job_of(FIRST, end="Failed", reason="DeadlineExceeded")
    job["spec"]["activeDeadlineSeconds"] = 60
    raised = resource(generation=2, limits={"activeDeadlineSeconds": 9999})
    seen = observed(raised, jobs=[job], now=NOW)
    failed = next(it for it in compute(seen, decide(seen)).conditions if it.type == "Failed")
    assert "activeDeadlineSeconds (60)" in failed.message
