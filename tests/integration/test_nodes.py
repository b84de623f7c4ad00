"""Runs of several nodes on a real API server with JobSet's own controller; the tests play the
kubelet."""

import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from clusters import apply_crds, own
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess, make_lease
from integration.test_progress import post, report, token
from integration.user import User, published

from luthier_cluster import Cluster, jobset

TWO = {"nodes": 2}


def job_set(user: User, name: str = "tone") -> Obj:
    """Wait for the one JobSet of a resource."""

    def check() -> Obj:
        found = user.kube.list("jobsets", user.namespace, f"?labelSelector=luthier.dev/name={name}")
        assert len(found) == 1, len(found)
        return found[0]

    got: Obj = eventually(check)
    return got


def inner(user: User, name: str = "tone") -> str:
    """The name of the Job that makes its pods."""
    return f"{job_set(user, name)['metadata']['name']}-node-0"


def both(kubelet: Kubelet, job: str) -> list[Obj]:
    """Start both pods."""
    return [kubelet.run(job, index) for index in (0, 1)]


def test_a_cluster_without_jobset_says_so_until_it_comes(tmp_path: Path) -> None:
    with Cluster(own("jobless"), "control-plane") as cluster:
        apply_crds(cluster)
        kube = Kube(str(cluster.kubeconfig))
        make_lease(kube)
        kube.create("namespaces", None, {"metadata": {"name": "team"}})
        user = User(kube, "team")
        with OperatorProcess(cluster.kubeconfig, tmp_path):
            user.create(placement=TWO)
            told = user.sees("Scheduled", "False", "JobSetNotInstalled")
            assert "install it" in told["message"]
            assert user.status()["phase"] == "Pending"
            user.create("other")
            assert user.job("other"), "who needs none of it goes on"
            assert user.jobs("tone") == []
            jobset.install_kind(cluster)
            # The operator looks for it once a minute.
            eventually(lambda: user.condition("Scheduled")["reason"] == "WaitingForPod", 90)
            assert job_set(user)


def test_an_older_jobset_that_would_drop_what_it_does_not_know_is_refused(tmp_path: Path) -> None:
    with Cluster(own("older"), "control-plane") as cluster:
        apply_crds(cluster)
        jobset.install_kind(cluster)
        crd = json.loads(cluster.kubectl("get", "crd", jobset.CRD, "-o", "json").stdout)
        [version] = crd["spec"]["versions"]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        rule = spec["failurePolicy"]["properties"]["rules"]["items"]["properties"]
        del rule["onJobFailureMessagePatterns"]
        cluster.kubectl("replace", "-f", "-", input=json.dumps(crd))
        kube = Kube(str(cluster.kubeconfig))
        make_lease(kube)
        kube.create("namespaces", None, {"metadata": {"name": "team"}})
        user = User(kube, "team")
        with OperatorProcess(cluster.kubeconfig, tmp_path):
            user.create(placement=TWO)
            told = user.sees("Scheduled", "False", "JobRejected")
            assert "onJobFailureMessagePatterns" in told["message"]
            assert kube.list("jobsets", "team") == []


def test_a_whole_run(
    job_sets: None, operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(placement=TWO, limits={"activeDeadlineSeconds": 1000, "maxRestarts": 3})
    job = inner(user)
    first, second = both(kubelet, job)
    began = time.monotonic()
    order = json.loads(first["metadata"]["annotations"]["luthier.dev/runspec"])
    name = job_set(user)["metadata"]["name"]
    assert (order["nodes"], order["master"]) == (2, f"{name}-node-0-0.{name}")
    assert first["spec"]["hostname"] == f"{name}-node-0-0"
    assert first["spec"]["subdomain"] == name
    service = kube.get("services", user.namespace, name)
    assert service["spec"]["clusterIP"] == "None"
    status = user.phase("Running")
    assert status["jobName"] == name
    assert post(operator, token(kube, first), report(user, first)) == 204
    assert post(operator, token(kube, second), report(user, second)) == 403

    # One dies: the other is asked to end, and both begin anew, with what is left of the deadline.
    time.sleep(max(0.0, 7 - (time.monotonic() - began)))
    kubelet.end(second, 137, reason="Error")
    eventually(lambda: "deletionTimestamp" in _named(kubelet, job, first)["metadata"])
    kubelet.finish_deletions(job)
    third, fourth = eventually(partial(_anew, kubelet, job, first, second))
    left = eventually(lambda: _shorter(kube, user, job))
    assert 900 < left < 998
    assert job_set(user)["status"]["restartsCountTowardsMax"] == 1
    status = user.phase("Running")

    kubelet.end(fourth, 0)
    kubelet.end(third, 0, published(status, user))
    done = user.phase("Complete")
    assert done["artifact"]["uri"].endswith(status["revision"])
    user.change(limits={"ttlSecondsAfterFinished": 1})
    eventually(lambda: not kube.list("jobsets", user.namespace), 60)
    user.sees("Complete", "True")


def test_what_no_restart_heals_ends_it_in_the_words_of_the_pod(
    job_sets: None, operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(placement=TWO)
    job = inner(user)
    first, second = both(kubelet, job)
    status = user.phase("Running")
    error = {"code": "NoRows", "message": "There is nothing to learn from."}
    told = {"revision": status["revision"], "attempt": 1, "outcome": "Failed", "error": error}
    kubelet.end(second, 65, told)
    eventually(lambda: "deletionTimestamp" in _named(kubelet, job, first)["metadata"])
    kubelet.finish_deletions(job)
    failed = user.sees("Failed", "True", "NoRows")
    assert failed["message"] == "There is nothing to learn from."


def test_suspended_and_resumed_as_a_whole(
    job_sets: None, operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(placement=TWO)
    job = inner(user)
    pods = both(kubelet, job)
    user.phase("Running")
    user.change(suspend=True)
    eventually(lambda: job_set(user)["spec"]["suspend"])
    eventually(lambda: all("deletionTimestamp" in it["metadata"] for it in kubelet.pods(job)))
    kubelet.finish_deletions(job)
    user.sees("Suspended", "True")
    user.phase("Suspended")
    user.change(suspend=False)
    eventually(partial(_anew, kubelet, job, *pods))
    user.phase("Running")


def test_an_operator_that_begins_anew_makes_nothing_twice_and_says_nothing_else(
    job_sets: None, operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(placement=TWO)
    job = inner(user)
    both(kubelet, job)
    before = user.phase("Running")
    uid = job_set(user)["metadata"]["uid"]
    version = user.kube.get("finetunejobs", user.namespace, "tone")["metadata"]["resourceVersion"]
    operator.kill(signal.SIGTERM)
    operator.start()
    # What comes after it was looked at, too.
    user.create("after")
    user.job("after")
    assert job_set(user)["metadata"]["uid"] == uid
    got = user.kube.get("finetunejobs", user.namespace, "tone")
    assert got["metadata"]["resourceVersion"] == version
    assert got["status"] == before


def test_it_goes_with_its_resource_and_another_number_of_nodes_takes_its_place(
    job_sets: None, operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(placement=TWO)
    uid = job_set(user)["metadata"]["uid"]
    kubelet.alive(inner(user), 1)
    user.change(placement={"nodes": 3})

    def three() -> Obj:
        found = job_set(user)
        kubelet.finish_deletions(f"{found['metadata']['name']}-node-0")
        assert found["metadata"]["uid"] != uid
        return found

    [replicated] = eventually(three)["spec"]["replicatedJobs"]
    assert replicated["template"]["spec"]["completions"] == 3
    user.kube.delete("finetunejobs", user.namespace, "tone", propagationPolicy="Background")

    def gone() -> bool:
        for pod in user.kube.list("pods", user.namespace):
            name = pod["metadata"]["name"]
            user.kube.delete("pods", user.namespace, name, gracePeriodSeconds=0)
        return not (user.kube.list("jobsets", user.namespace) or user.jobs())

    eventually(gone, 60)


def _named(kubelet: Kubelet, job: str, pod: Obj) -> Obj:
    uid = pod["metadata"]["uid"]
    return next(it for it in kubelet.pods(job) if it["metadata"]["uid"] == uid)


def _anew(kubelet: Kubelet, job: str, *before: Obj) -> list[Obj]:
    kubelet.finish_deletions(job)
    known: Any = {it["metadata"]["uid"] for it in before}
    assert not known & {it["metadata"]["uid"] for it in kubelet.pods(job)}
    return both(kubelet, job)


def _shorter(kube: Kube, user: User, job: str) -> int | None:
    seconds: int = kube.get("jobs", user.namespace, job)["spec"]["activeDeadlineSeconds"]
    return seconds if seconds < 1000 else None
