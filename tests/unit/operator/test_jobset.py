"""A run of several nodes: its JobSet, how it is read, changed and explained."""

import re
from dataclasses import replace
from typing import Any

import pytest
from unit.operator.builders import (
    OWNER,
    changes_in,
    deleted_by,
    ended,
    job_of,
    message,
    observed,
    pod_of,
    reasons,
    resource,
    result,
    spec,
)
from unit.operator.jobset_support import (
    CREATED,
    FIRST,
    PLATFORM,
    TWO,
    built,
    inner_of,
    job_set_of,
    node_of,
    seen,
)

from luthier_api.result import TERMINAL_EXIT_CODES
from luthier_api.runspec import RUNSPEC_ANNOTATION, read_order
from luthier_operator.finetunejob.build import build, probe_order
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import JOB_SETS, JOBS, QUEUE_LABEL, SUSPENDED_ANNOTATION, Obj
from luthier_operator.run.actions import Delete, Ensure, Patch
from luthier_operator.run.adoption import is_leaving, obstacle
from luthier_operator.run.build import handed_over, job_name
from luthier_operator.run.interruptions import MOST_RESTARTS
from luthier_operator.run.model import Owner
from luthier_operator.run.workload import AT_ONCE

BY_RULE = "Container trainer for pod a/b failed with exit code {} matching FailJob rule at index {}"
DISRUPTED = "Pod team/pod-1 has condition DisruptionTarget matching FailJob rule at index 0"


def inner_spec(job_set: Obj) -> Obj:
    [replicated] = job_set["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    spec: Obj = replicated["template"]["spec"]
    return spec


def phase_of(it: Any) -> str | None:
    return compute(it, decide(it)).phase


# --- what is built ------------------------------------------------------------------------------


def test_several_nodes_are_a_jobset_of_one_indexed_job() -> None:
    job_set = built(limits={"activeDeadlineSeconds": 100, "maxRestarts": 3})
    assert (job_set["apiVersion"], job_set["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    job = inner_spec(job_set)
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 2, 2)
    assert job["activeDeadlineSeconds"] == 100
    assert job["backoffLimit"] == 0
    assert job_set["spec"]["failurePolicy"]["maxRestarts"] == 3
    # Whoever looks for what serves the resource finds all of it.
    labels = job_set["metadata"]["labels"]
    template = job_set["spec"]["replicatedJobs"][0]["template"]
    assert template["metadata"]["labels"] == job["template"]["metadata"]["labels"] == labels


def test_the_pods_are_told_how_many_they_are_and_where_the_first_is() -> None:
    job_set = built()
    annotations = inner_spec(job_set)["template"]["metadata"]["annotations"]
    order = read_order(annotations[RUNSPEC_ANNOTATION].encode())
    name = job_set["metadata"]["name"]
    assert order.nodes == 2
    assert order.master == f"{name}-node-0-0.{name}"
    assert "subdomain" not in job_set["spec"]["network"], "the JobSet's own name"


def test_one_node_is_a_job_as_before_and_its_order_says_nothing_of_nodes() -> None:
    (job,) = build(OWNER, spec(placement={"nodes": 1}), FIRST, PLATFORM)
    assert job["kind"] == "Job"
    order = job["spec"]["template"]["metadata"]["annotations"][RUNSPEC_ANNOTATION]
    assert "nodes" not in order
    assert "master" not in order
    assert "topologySpreadConstraints" not in job["spec"]["template"]["spec"]


def test_errands_are_of_one_pod() -> None:
    order = probe_order(OWNER, spec(**TWO), FIRST, PLATFORM, result=None, dataset_digest=None)
    assert (order.nodes, order.master, order.gpus) == (1, None, 0)


def test_all_names_that_come_of_a_long_one_are_dns_labels() -> None:
    long = Owner(OWNER.resource, "team", "a" * 40, OWNER.uid)
    (job_set,) = build(long, spec(placement={"nodes": 4}), FIRST, PLATFORM)
    name = job_set["metadata"]["name"]
    pod = f"{name}-node-0-255-abcde"
    assert len(pod) == 63
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", pod)
    assert name != job_name(replace(long, uid="another"), FIRST, 4)


def test_pods_spread_over_nodes_where_they_can() -> None:
    pod = inner_spec(built())["template"]
    [spread] = pod["spec"]["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_a_queued_one_is_suspended_and_its_label_is_kueues() -> None:
    job_set = built(placement={"nodes": 2, "queueName": "team", "priority": "high"})
    assert job_set["spec"]["suspend"] is True
    labels = job_set["metadata"]["labels"]
    assert labels[QUEUE_LABEL] == "team"
    inner = job_set["spec"]["replicatedJobs"][0]["template"]["metadata"]["labels"]
    assert QUEUE_LABEL not in inner, "or Kueue would take the Job for a run of its own"


def test_several_gpus_share_memory_within_the_pods() -> None:
    rich = Owner(OWNER.resource, "rich", "tone", "u")

    def shm(gpus: int, **pool: Any) -> list[Obj]:
        more = PLATFORM.model_copy(
            update={"pools": [it.model_copy(update=pool) for it in PLATFORM.pools]}
        )
        (job,) = build(rich, spec(placement={"pool": "gpu", "gpus": gpus}), FIRST, more)
        volumes = job["spec"]["template"]["spec"]["volumes"]
        return [it["emptyDir"] for it in volumes if it["name"] == "shm"]

    assert shm(8) == [{"medium": "Memory", "sizeLimit": "1Gi"}]
    assert shm(1) == []
    assert shm(8, shared_memory="8Gi") == [{"medium": "Memory", "sizeLimit": "8Gi"}]


# --- what becomes of a failed pod ---------------------------------------------------------------


def action_for(reason: str, text: str) -> str:
    """As JobSet decides (pkg/controllers/failure_policy.go): the first rule that matches."""
    for rule in built()["spec"]["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(re.search(it, text) for it in patterns):
            return str(rule["action"])
    return "RestartJobSet"


@pytest.mark.parametrize(
    ("reason", "text", "action"),
    [
        ("PodFailurePolicy", DISRUPTED, "RestartJobSetAndIgnoreMaxRestarts"),
        ("PodFailurePolicy", BY_RULE.format(75, 1), "RestartJobSetAndIgnoreMaxRestarts"),
        ("PodFailurePolicy", BY_RULE.format(65, 2), "FailJobSet"),
        ("DeadlineExceeded", "Job was active longer than specified deadline", "FailJobSet"),
        ("BackoffLimitExceeded", "Job has reached the specified backoff limit", "RestartJobSet"),
        ("PodFailurePolicy", "in words that nobody knows yet", "RestartJobSet"),
        ("PodFailurePolicy", BY_RULE.format(65, 12), "RestartJobSet"),
    ],
)
def test_what_counts_as_a_failure(reason: str, text: str, action: str) -> None:
    assert action_for(reason, text) == action


def test_the_rules_of_the_inner_job_are_where_the_jobsets_patterns_look() -> None:
    disrupted, interrupted, hopeless = inner_spec(built())["podFailurePolicy"]["rules"]
    assert {it["action"] for it in (disrupted, interrupted, hopeless)} == {"FailJob"}
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert interrupted["onExitCodes"]["values"] == [75]
    assert hopeless["onExitCodes"]["values"] == sorted(int(it) for it in TERMINAL_EXIT_CODES)


# --- how it is read -----------------------------------------------------------------------------


def test_it_is_the_run_and_the_job_that_it_made_is_not() -> None:
    job_set = job_set_of()
    inner = inner_of(job_set)
    it = seen(job_set, inner, [node_of(inner, 0), node_of(inner, 1)])
    [job] = it.jobs
    assert (job.resource, job.revision, job.attempt) == (JOB_SETS, FIRST.name, 1)
    assert (job.parts, job.together, job.max_restarts) == (2, True, 5)
    assert [pod.name for pod in it.pods_of(job)] == ["pod-0", "pod-1"]
    assert decide(it).actions == ()
    assert phase_of(it) == "Running"


def test_another_owners_and_anothers_namespaces_are_none_of_ours() -> None:
    strange = job_set_of()
    strange["metadata"]["ownerReferences"] = [{"uid": "somebody", "controller": True}]
    elsewhere = job_set_of()
    elsewhere["metadata"]["namespace"] = "other"
    unreadable = job_set_of()
    unreadable["metadata"]["labels"]["luthier.dev/attempt"] = "first"
    for it in (strange, elsewhere, unreadable):
        assert seen(it).jobs == ()


@pytest.mark.parametrize("spec", [{}, {"replicatedJobs": []}, {"replicatedJobs": [{}]}])
def test_one_that_somebody_made_with_half_a_spec_is_read(spec: Obj) -> None:
    half = job_set_of() | {"spec": spec, "status": {}}
    [job] = seen(half).jobs
    assert (job.parts, job.end, job.max_restarts) == (1, None, None)


def test_it_completes_when_the_jobset_has() -> None:
    job_set = job_set_of(end="Completed", reason="AllJobsCompleted")
    inner = inner_of(job_set)
    uri = f"s3://artifacts/models/team/tone/{FIRST.name}"
    told = result(FIRST, artifact={"uri": uri, "manifestSha256": "ab" * 32})
    first = node_of(inner, 0, phase="Succeeded", state=ended(0, told, "Completed"))
    second = node_of(inner, 1, phase="Succeeded", state=ended(0, "", "Completed"))
    it = seen(job_set, inner, [first, second])
    got = compute(it, decide(it))
    assert got.phase == "Complete"
    assert got.artifact is not None
    assert got.completion_time == "2026-01-02T03:04:00Z"


def test_it_is_running_when_all_are_and_finishing_when_all_have_ended_well() -> None:
    job_set = job_set_of()
    inner = inner_of(job_set)
    first, second = node_of(inner, 0), node_of(inner, 1)
    waits = node_of(inner, 1, phase="Pending", state={}, node=None)
    assert phase_of(seen(job_set, inner, [first])) == "Pending"
    assert phase_of(seen(job_set, inner, [first, waits])) == "Pending"
    assert phase_of(seen(job_set, inner, [first, second])) == "Running"
    # The others end a moment before the first, which publishes.
    done = node_of(inner, 1, phase="Succeeded", state=ended(0, "", "Completed"))
    publishing = seen(job_set, inner, [first, done])
    assert phase_of(publishing) == "Running"
    assert reasons(compute(publishing, decide(publishing)))["Scheduled"] == "True Scheduled"
    both = [node_of(inner, 0, phase="Succeeded", state=ended(0, "", "Completed")), done]
    assert phase_of(seen(job_set, inner, both)) == "Finishing"
    fatal = [first, node_of(inner, 1, phase="Failed", state=ended(65))]
    assert phase_of(seen(job_set, inner, fatal)) != "Complete"


def test_the_pod_that_keeps_the_others_waiting_is_explained() -> None:
    job_set = job_set_of()
    inner = inner_of(job_set)
    waits = node_of(inner, 1, phase="Pending", state={}, node=None)
    waits["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient gpu."}
    ]
    it = seen(job_set, inner, [node_of(inner, 0), waits])
    got = compute(it, decide(it))
    assert reasons(got)["Scheduled"] == "False Unschedulable"
    assert "Insufficient gpu" in message(got, "Scheduled")


def test_a_job_that_jobset_cant_make_is_explained() -> None:
    words = (
        'job "tone-1-node-0" creation failed with error: jobs.batch "tone-1-node-0" is forbidden: '
        "exceeded quota: few, requested: count/jobs.batch=1"
    )
    it = seen(job_set_of(), notes=(f"JobCreationFailed: {words}",))
    got = compute(it, decide(it))
    assert reasons(got)["Scheduled"] == "False QuotaExceeded"
    assert "exceeded quota: few" in message(got, "Scheduled")


# --- how it failed ------------------------------------------------------------------------------


def failed(reason: str, of_job: tuple[str, str], *pods: Obj, **fields: Any) -> Any:
    job_set = job_set_of(end="Failed", reason=reason, **fields)
    inner = inner_of(job_set, failed=of_job, deadline=fields.get("deadline"))
    it = seen(job_set, inner, list(pods))
    got = compute(it, decide(it))
    assert got.phase == "Failed"
    return got


def lost(inner: Obj, index: int, exit_code: int, at: str, **error: str) -> Obj:
    told = result(FIRST, outcome="Failed", error=error) if error else ""
    pod = node_of(inner, index, phase="Failed", state=ended(exit_code, told))
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = at
    return pod


def test_a_peers_word_says_why_when_the_first_pod_says_nothing() -> None:
    inner = inner_of(job_set_of())
    first = lost(inner, 0, 1, "2026-01-02T03:04:09Z")
    peer = lost(
        inner, 1, 1, "2026-01-02T03:04:05Z", code="LossNotFinite", message="The loss is NaN."
    )
    got = failed("ReachedMaxRestarts", ("BackoffLimitExceeded", "…"), first, peer, counted=5)
    assert reasons(got)["Failed"] == "True TooManyRestarts"
    assert "The loss is NaN." in message(got, "Failed")
    assert "failed 6 times (limits.maxRestarts was 5)" in message(got, "Failed")


def test_a_hopeless_end_of_any_pod_is_the_runs() -> None:
    inner = inner_of(job_set_of())
    first = lost(inner, 0, 75, "2026-01-02T03:04:09Z")
    peer = lost(inner, 1, 65, "2026-01-02T03:04:09Z", code="NoRows", message="There are no rows.")
    of_job = ("PodFailurePolicy", BY_RULE.format(65, 2))
    got = failed("FailJobSetFailurePolicyAction", of_job, first, peer)
    assert reasons(got)["Failed"] == "True NoRows"
    assert message(got, "Failed") == "There are no rows."


def test_want_of_memory_of_one_is_told_although_all_failed_after_it() -> None:
    inner = inner_of(job_set_of())
    first = lost(inner, 0, 1, "2026-01-02T03:04:05Z", code="PeerLost", message="A peer is gone.")
    killed = lost(inner, 1, 137, "2026-01-02T03:04:05Z")
    killed["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] = "OOMKilled"
    got = failed("ReachedMaxRestarts", ("BackoffLimitExceeded", ""), first, killed, counted=5)
    assert reasons(got)["Failed"] == "True OutOfMemory"


def test_without_pods_and_job_the_jobsets_own_words_are_told() -> None:
    job_set = job_set_of(end="Failed", reason="FailJobSetFailurePolicyAction")
    it = seen(job_set)
    assert reasons(compute(it, decide(it)))["Failed"] == "True FailJobSetFailurePolicyAction"


@pytest.mark.parametrize("late", [0, 3], ids=["at once", "moments later"])
def test_the_deadline_is_told_as_the_user_wrote_it(late: int) -> None:
    limits = {"activeDeadlineSeconds": 1000}
    job_set = job_set_of(end="Failed", reason="FailJobSetFailurePolicyAction", limits=limits)
    # The second Job of the JobSet, for what was left of 1,000 seconds.
    inner = inner_of(
        job_set, began=f"2026-01-02T03:10:0{late}Z", deadline=400, failed=("DeadlineExceeded", "…")
    )
    it = seen(job_set, inner, limits=limits)
    got = compute(it, decide(it))
    assert reasons(got)["Failed"] == "True DeadlineExceeded"
    assert "(1000)" in message(got, "Failed")


# --- what is changed of it ----------------------------------------------------------------------


def test_suspend_and_resume_leave_a_mark() -> None:
    running = job_set_of()
    [patch] = decide(seen(running, inner_of(running), suspend=True)).actions
    assert isinstance(patch, Patch)
    assert (patch.resource, patch.obj) == (JOB_SETS, running)
    mark = {"annotations": {SUSPENDED_ANNOTATION: "true"}}
    assert patch.changes == {"metadata": mark, "spec": {"suspend": True}}
    stopped = job_set_of(suspend=True)
    stopped["metadata"]["annotations"][SUSPENDED_ANNOTATION] = "true"
    resumed = decide(seen(stopped))
    assert resumed.starts
    assert changes_in(resumed)[0]["spec"] == {"suspend": False}


def test_one_that_somebody_else_suspended_is_left_to_them() -> None:
    it = seen(job_set_of(suspend=True))
    assert decide(it).actions == ()
    assert reasons(compute(it, decide(it)))["Scheduled"] == "False SuspendedElsewhere"


def test_one_in_a_queue_is_moved_by_its_label() -> None:
    queue = {"nodes": 2, "queueName": "team"}
    waiting = job_set_of(suspend=True, placement=queue)
    assert decide(seen(waiting, placement=queue)).actions == ()
    moved = decide(seen(waiting, placement=queue | {"queueName": "other"}))
    assert changes_in(moved) == [{"metadata": {"labels": {QUEUE_LABEL: "other"}}}]


def test_its_ttl_comes_once_the_end_is_on_record() -> None:
    done = job_set_of(end="Completed")
    recorded = {
        "revision": FIRST.name,
        "attempt": 1,
        "observedGeneration": 1,
        "conditions": [
            {"type": "Complete", "status": "True", "reason": "Completed"}
            | {"lastTransitionTime": CREATED}
        ],
    }
    it = seen(done, status=recorded, limits={"ttlSecondsAfterFinished": 60})
    [patch] = decide(it).actions
    assert isinstance(patch, Patch)
    assert (patch.resource, patch.changes) == (JOB_SETS, {"spec": {"ttlSecondsAfterFinished": 60}})
    done["spec"]["ttlSecondsAfterFinished"] = 60
    assert decide(seen(done, status=recorded, limits={"ttlSecondsAfterFinished": 60})).actions == ()


@pytest.mark.parametrize(
    ("began", "resumed", "left"),
    [
        (CREATED, None, None),  # in step
        ("2026-01-02T03:00:03Z", None, None),  # a moment later
        ("2026-01-02T03:10:00Z", None, 400),  # after a restart
        ("2026-01-02T03:10:00Z", "2026-01-02T03:10:00Z", None),  # it counts from there anew
        ("2026-01-02T05:00:00Z", None, AT_ONCE + 1),  # over
    ],
)
def test_a_job_that_is_made_anew_has_what_is_left_of_the_deadline(
    began: str, resumed: str | None, left: int | None
) -> None:
    limits = {"limits": {"activeDeadlineSeconds": 1000}}
    job_set = job_set_of(resumed=resumed, **limits)
    inner = inner_of(job_set, began=began, deadline=1000)
    actions = decide(seen(job_set, inner, [node_of(inner, 0), node_of(inner, 1)], **limits)).actions
    if left is None:
        assert actions == ()
        return
    [patch] = actions
    assert isinstance(patch, Patch)
    assert (patch.resource, patch.obj) == (JOBS, inner)
    assert patch.changes == {"spec": {"activeDeadlineSeconds": left}}
    inner["spec"]["activeDeadlineSeconds"] = left
    assert decide(seen(job_set, inner, **limits)).actions == (), "once"


def test_a_deadline_that_is_raised_or_removed_while_it_runs_is_followed() -> None:
    job_set = job_set_of(limits={"activeDeadlineSeconds": 1000})
    inner = inner_of(job_set, began="2026-01-02T03:10:00Z", deadline=400)
    raised = decide(seen(job_set, inner, limits={"activeDeadlineSeconds": 2000}))
    assert changes_in(raised) == [{"spec": {"activeDeadlineSeconds": 1400}}]
    assert changes_in(decide(seen(job_set, inner))) == [{"spec": {"activeDeadlineSeconds": None}}]


def test_restarts_that_nobody_counts_come_to_an_end() -> None:
    borne = job_set_of(uncounted=MOST_RESTARTS, counted=3)
    inner = inner_of(borne)
    assert decide(seen(borne, inner)).actions == ()
    endless = job_set_of(uncounted=MOST_RESTARTS + 1)
    [patch] = decide(seen(endless, inner)).actions
    assert isinstance(patch, Patch)
    assert patch.resource == JOBS
    assert patch.changes == {"spec": {"activeDeadlineSeconds": AT_ONCE}}
    assert decide(seen(endless)).actions == (), "between two Jobs there is none to end"
    inner["spec"]["activeDeadlineSeconds"] = AT_ONCE
    assert decide(seen(endless, inner)).actions == (), "once"
    got = failed(
        "FailJobSetFailurePolicyAction", ("DeadlineExceeded", ""), uncounted=MOST_RESTARTS + 1
    )
    assert reasons(got)["Failed"] == "True TooManyInterruptions"
    assert str(MOST_RESTARTS + 1) in message(got, "Failed")


# --- drift --------------------------------------------------------------------------------------


def test_another_number_of_nodes_takes_another_jobset_before_it_started() -> None:
    job_set = job_set_of()
    plan = decide(seen(job_set, placement={"nodes": 3}))
    [delete] = plan.actions
    assert isinstance(delete, Delete)
    assert (delete.resource, delete.obj) == (JOB_SETS, job_set)
    assert plan.hold is not None
    assert plan.hold.message == (
        "A new JobSet takes its place: placement.nodes changed before it started."
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"placement": {"nodes": 3}}, "placement.nodes"),
        ({"placement": {"nodes": 1}}, "placement.nodes"),
        ({"limits": {"maxRestarts": 9}}, "limits.maxRestarts"),
    ],
)
def test_what_changes_after_it_started_comes_with_the_next_attempt(change: Obj, name: str) -> None:
    job_set = job_set_of()
    inner = inner_of(job_set)
    it = seen(job_set, inner, [node_of(inner, 0), node_of(inner, 1)], **change)
    plan = decide(it)
    assert plan.actions == ()
    assert name in plan.later
    assert "delete the run's JobSet" in message(compute(it, plan), "SettingsApplied")


def test_from_one_node_to_several_and_back() -> None:
    job = job_of(FIRST)
    plan = decide(seen(inner=job))
    assert deleted_by(plan) == [job]
    # Once it is gone there is a JobSet.
    [ensure] = decide(seen()).actions
    assert isinstance(ensure, Ensure)
    assert ensure.obj["kind"] == "JobSet"
    job_set = job_set_of()
    back = decide(observed(resource(), job_sets=[job_set], platform=PLATFORM, jobset=True))
    assert deleted_by(back) == [job_set]


def test_one_of_an_older_revision_is_deleted() -> None:
    older = job_set_of()
    plan = decide(seen(older, inner_of(older), training={"maxSteps": 7}))
    [delete] = [it for it in plan.actions if isinstance(it, Delete)]
    assert (delete.resource, delete.obj) == (JOB_SETS, older)
    assert plan.hold is not None
    assert plan.hold.reason == "Stopping"


def test_pods_of_an_older_jobset_hold_up_the_next() -> None:
    gone = job_set_of()
    pod = pod_of(inner_of(gone), "late")
    plan = decide(seen(pods=[pod]))
    assert plan.created == ()
    assert plan.hold is not None
    assert "late" in plan.hold.message


# --- a cluster without JobSet -------------------------------------------------------------------


def test_without_jobset_nothing_is_created_and_the_remedy_is_told() -> None:
    it = seen(jobset=False)
    plan = decide(it)
    assert plan.actions == ()
    got = compute(it, plan)
    assert reasons(got)["Scheduled"] == "False JobSetNotInstalled"
    told = message(got, "Scheduled")
    assert "jobset.x-k8s.io/v1alpha2" in told
    assert "install it" in told
    assert reasons(got)["Stalled"].startswith("False"), "it goes on when JobSet comes"
    assert decide(seen(jobset=True)).created[-1]["kind"] == "JobSet"


def test_one_node_needs_no_jobset() -> None:
    plan = decide(observed(resource(), jobset=False, platform=PLATFORM))
    assert plan.created[-1]["kind"] == "Job"


def test_a_pool_says_how_many_nodes_a_run_may_have() -> None:
    it = seen(placement={"nodes": 5})
    got = compute(it, decide(it))
    assert reasons(got)["Stalled"] == "True TooManyNodes"
    told = message(got, "Stalled")
    assert told.startswith("spec.placement.nodes: a run in pool 'cpu' has at most 4, not 5:")
    assert "maxNodes" in told


# --- a namesake ---------------------------------------------------------------------------------


def test_a_jobset_under_its_name_is_taken_if_it_is_the_same_and_ours() -> None:
    wanted = built()
    owner = resource()
    assert obstacle(owner, wanted, wanted) == ""
    others = {"ownerReferences": [{"uid": "somebody", "controller": True}]}
    strange = wanted | {"metadata": wanted["metadata"] | others}
    assert obstacle(owner, wanted, strange).startswith(
        f"JobSet {wanted['metadata']['name']} exists and belongs to another owner"
    )
    three = built(placement={"nodes": 3})
    assert "isn't what this run needs" in obstacle(owner, wanted, three)


def test_its_run_spec_goes_with_it() -> None:
    config_map = {"metadata": {"name": "tone-1", "uid": "u-map"}, "data": {}}
    job_set = built()
    job_set["metadata"] |= {"uid": "u-set", "name": "tone-1"}
    [reference] = handed_over(config_map, job_set)["metadata"]["ownerReferences"]
    assert (reference["apiVersion"], reference["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    left = config_map | {"metadata": config_map["metadata"] | {"ownerReferences": [reference]}}
    assert is_leaving(config_map, left)
