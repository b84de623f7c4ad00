"""Everything that holds a run back shows in one condition, with the remedy."""

from typing import Any

import pytest
from integration.kube import Kube, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"placement": {"pool": "gpu"}}, "PoolNotFound", "one of: cpu, tight"),
        ({"placement": {"pool": "elsewhere"}}, "PoolNotAllowed", "one of: cpu, tight"),
        ({"placement": {"gpus": 1}}, "TooManyGpus", "at most 0"),
        ({"model": {"uri": "file:///etc/model"}}, "FileNotAllowed", "/data"),
    ],
)
def test_what_the_platform_does_not_allow(
    operator: OperatorProcess, user: User, changes: dict[str, Any], reason: str, words: str
) -> None:
    user.create(**changes)
    stalled = user.sees("Stalled", "True", reason)
    assert words in stalled["message"]
    user.sees("Ready", "False", reason)
    assert not user.jobs()
    # It heals with the spec, without a retry.
    user.change(placement={"pool": "cpu", "gpus": 0}, model={"uri": "s3://models/smollm2"})
    user.job()
    user.sees("Stalled", "False")


def test_unschedulable(operator: OperatorProcess, user: User) -> None:
    user.create(placement={"pool": "tight"})
    held = user.sees("Scheduled", "False", "Unschedulable")
    assert "node" in held["message"]


@pytest.mark.parametrize(
    ("state", "message", "reason"),
    [
        ("ImagePullBackOff", "Back-off pulling image", "ImagePullFailed"),
        ("ErrImageNeverPull", "image isn't present", "ImagePullFailed"),
        ("CreateContainerConfigError", 'secret "luthier-s3" not found', "SecretNotFound"),
        (
            "CreateContainerConfigError",
            "couldn't find key AWS_ACCESS_KEY_ID in Secret team/luthier-s3",
            "SecretKeyNotFound",
        ),
    ],
)
def test_a_container_that_does_not_start(
    operator: OperatorProcess, user: User, kubelet: Kubelet, state: str, message: str, reason: str
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    kubelet.wait(name, state, message)
    assert message in user.sees("Scheduled", "False", reason)["message"]
    kubelet.run(name)
    user.sees("Scheduled", "True")


def test_a_missing_service_account(operator: OperatorProcess, user: User) -> None:
    user.create(storage={"serviceAccountName": "nobody"})
    user.job()
    held = user.sees("Scheduled", "False", "ServiceAccountNotFound")
    assert "nobody" in held["message"]


def test_a_quota_without_room_for_the_pod(
    operator: OperatorProcess, kube: Kube, user: User
) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    kube.create("resourcequotas", user.namespace, quota)
    eventually(
        lambda: kube.get("resourcequotas", user.namespace, "none").get("status", {}).get("hard")
    )
    user.create()
    held = user.sees("Scheduled", "False", "QuotaExceeded")
    assert "exceeded quota: none" in held["message"]


def test_a_quota_without_room_for_the_job(
    operator: OperatorProcess, kube: Kube, user: User
) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    kube.create("resourcequotas", user.namespace, quota)
    eventually(
        lambda: kube.get("resourcequotas", user.namespace, "none").get("status", {}).get("hard")
    )
    user.create()
    user.sees("Scheduled", "False", "QuotaExceeded")
    assert "jobName" not in user.status()
    kube.delete("resourcequotas", user.namespace, "none")
    user.job()
    user.phase("Pending")


def test_pods_pass_the_restricted_level(
    operator: OperatorProcess, kube: Kube, user: User, kubelet: Kubelet
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.patch("namespaces", None, user.namespace, {"metadata": {"labels": labels}})
    user.create()
    kubelet.run(user.job()["metadata"]["name"])
    user.phase("Running")
