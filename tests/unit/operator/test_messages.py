"""A message promises what is so, and a run that has ended waits for nothing."""

from typing import Any

import pytest
from unit.operator.builders import (
    ended,
    job_of,
    message,
    observed,
    platform,
    pod_of,
    reasons,
    resource,
    spec,
)

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import Obj
from luthier_operator.run.model import Revision

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)
CHECKPOINT = {"step": 1, "uri": "s3://artifacts/c", "sha256": "0"}


def status(seen: Observed) -> FineTuneJobStatus:
    return compute(seen, decide(seen))


def too_late(before: Obj | None = None) -> Observed:
    job = job_of(FIRST, end="Failed", reason="DeadlineExceeded")
    return observed(resource(status=before), jobs=[job])


def waiting() -> Obj:
    """The status of a run whose pod found no place."""
    held = status(observed(jobs=[job_of(FIRST)]))
    assert reasons(held)["Scheduled"] == "False WaitingForPod"
    return held.to_json()


def test_a_run_that_has_failed_waits_for_no_pod() -> None:
    failed = status(too_late(waiting()))
    assert reasons(failed)["Scheduled"] == "False Finished"
    assert message(failed, "Scheduled") == ""
    # Nor does one whose end an earlier version wrote so.
    old = [it for it in failed.to_json()["conditions"] if it["type"] != "Scheduled"]
    old += [it for it in waiting()["conditions"] if it["type"] == "Scheduled"]
    kept = status(observed(resource(status=failed.to_json() | {"conditions": old})))
    assert reasons(kept)["Failed"] == "True DeadlineExceeded"
    assert reasons(kept)["Scheduled"] == "False Finished"


def test_a_run_that_had_its_place_keeps_that_word() -> None:
    job = job_of(FIRST)
    running = status(observed(jobs=[job], pods=[pod_of(job)]))
    assert reasons(status(too_late(running.to_json())))["Scheduled"] == "True Scheduled"


def test_after_a_deadline_only_what_was_saved_is_gone_on_from() -> None:
    assert message(status(too_late()), "Failed").endswith(
        "Raise it. The next attempt begins again."
    )
    saved = waiting() | {"checkpoints": [CHECKPOINT]}
    assert message(status(too_late(saved)), "Failed").endswith("goes on from its checkpoint.")


def killed(times: int, last: int | None = None) -> str:
    job = job_of(FIRST, end="Failed", reason="BackoffLimitExceeded")
    pods = [
        pod_of(job, f"pod-{n}", phase="Failed", state=ended(137, reason="OOMKilled"))
        for n in range(times)
    ]
    if last is not None:
        pods.append(pod_of(job, "pod-z", phase="Failed", state=ended(last)))
    return message(status(observed(jobs=[job], pods=pods)), "Failed")


def test_want_of_memory_is_said_to_come_again_only_where_it_did() -> None:
    assert killed(1).startswith("The trainer was killed for want of memory. Lower")
    assert killed(2).startswith("The trainer was killed for want of memory, again. Lower")
    assert "again without getting further" in killed(1, last=76)


def test_pods_that_were_evicted_are_not_counted_as_failed() -> None:
    job = job_of(FIRST, end="Failed", reason="BackoffLimitExceeded")
    evicted = pod_of(job, "pod-0", phase="Failed", state=ended(137))
    evicted["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    crashed = pod_of(job, "pod-1", phase="Failed", state=ended(1))
    told = message(status(observed(jobs=[job], pods=[evicted, crashed])), "Failed")
    assert told.startswith("1 pods failed")


def unplaced(words: str, pool: str = "cpu", **of_pool: Any) -> FineTuneJobStatus:
    job = job_of(FIRST)
    job["metadata"]["annotations"] = {"luthier.dev/pool": pool}
    pod = pod_of(job, phase="Pending", state={}, node=None)
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": words}]
    return status(observed(jobs=[job], pods=[pod], platform=platform(**of_pool)))


NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "shared" not found.'


@pytest.mark.parametrize(
    "of_pool", [{"cacheClaim": "shared"}, {"mounts": [{"claim": "shared", "mountPath": "/data"}]}]
)
def test_a_claim_of_the_pool_is_the_platform_teams(of_pool: Obj) -> None:
    told = unplaced(NO_CLAIM, **of_pool)
    assert reasons(told)["Scheduled"] == "False ClaimNotFound"
    assert "ask the platform team" in message(told, "Scheduled")
    assert "pvc://" not in message(told, "Scheduled")


def test_a_claim_of_the_spec_is_the_users() -> None:
    assert "pvc://CLAIM/PATH" in message(unplaced(NO_CLAIM, cacheClaim="other"), "Scheduled")


def unmounted(words: str) -> str:
    """The message of a run in a pool with certificates, a volume of which can't be mounted."""
    job = job_of(FIRST)
    job["metadata"]["annotations"] = {"luthier.dev/pool": "cpu"}
    pod = pod_of(job, phase="Pending", state={"waiting": {"reason": "ContainerCreating"}})
    of_pool = platform(ca={"name": "corporate", "key": "ca.crt"})
    notes = (f"FailedMount: MountVolume.SetUp failed for volume {words}",)
    return message(
        status(observed(jobs=[job], pods=[pod], notes=notes, platform=of_pool)), "Scheduled"
    )


@pytest.mark.parametrize("name", ["corporate", "team/corporate"])
def test_the_pools_certificates_are_the_platform_teams(name: str) -> None:
    assert "ask the platform team" in unmounted(f'"ca" : configmap "{name}" not found')


def test_a_missing_key_of_the_pools_certificates_is_the_platform_teams() -> None:
    missing = "references non-existent config key"
    told = unmounted(f'"ca" : {missing}: ca.crt')
    assert "key of the ConfigMap corporate" in told
    assert "ask the platform team" in told
    assert "the spec." not in told
    assert "correct it in the spec" in unmounted(f'"config-map-0" : {missing}: loss.py')


def test_without_kueue_nobody_waits_for_it() -> None:
    job = job_of(FIRST, suspend=True)
    job["metadata"]["labels"] = job["metadata"]["labels"] | {"kueue.x-k8s.io/queue-name": "team"}
    unknown = observed(jobs=[job], kueue=None)
    assert reasons(status(unknown))["Scheduled"] == "False Queued"
    # It is found out soon, and nothing else would wake it then.
    assert decide(unknown).again is not None
    told = status(observed(jobs=[job], kueue=False))
    assert reasons(told)["Scheduled"] == "False KueueNotInstalled"
    assert "Remove spec.placement.queueName" in message(told, "Scheduled")
    assert decide(observed(jobs=[job], kueue=False)).again is None
