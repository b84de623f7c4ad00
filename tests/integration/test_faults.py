"""The operator killed, the API server gone, a burst: nothing twice, nothing lost."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clusters import apply_crds, own
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess, make_lease
from integration.user import ADAPTER_BUNDLE, OPTIMIZE_JOB, Kind, User, published

from luthier_cluster import Cluster


def _burst(user: User, count: int, **spec: Any) -> list[str]:
    names = [f"run-{number:03}" for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(user.create, **spec), names))
    return names


def _one_job_each(user: User, names: list[str]) -> bool:
    owners = [job["metadata"]["labels"]["luthier.dev/name"] for job in user.jobs()]
    assert len(owners) == len(set(owners)), "a resource has two Jobs"
    assert sorted(owners) == names, f"{len(owners)} of {len(names)}"
    return True


def _all_told(user: User, field: str) -> None:
    def told() -> bool:
        items = user.kube.list(user.kind.plural, user.namespace)
        return all((it.get("status") or {}).get(field) for it in items)

    eventually(told)


def uid_of(obj: Obj) -> str:
    """The uid."""
    return str(obj["metadata"]["uid"])


def test_a_burst_of_resources(operator: OperatorProcess, user: User) -> None:
    names = _burst(user, 100)
    eventually(lambda: _one_job_each(user, names), 60)
    _all_told(user, "phase")


# From before the first is seen until after the last has its Job.
MOMENTS = [pytest.param(number / 20, marks=pytest.mark.faults) for number in range(60)]


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 1.0, *MOMENTS])
def test_killed_in_a_burst_nothing_is_created_twice(
    operator: OperatorProcess, user: User, delay: float
) -> None:
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(_burst, user, 30)
        time.sleep(delay)
        operator.kill()
        names = burst.result()
    operator.start()
    eventually(lambda: _one_job_each(user, names), 60)
    _all_told(user, "jobName")


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (OPTIMIZE_JOB, {"source": {"modelUri": "s3://models/smollm2"}}),
        (ADAPTER_BUNDLE, {"adapters": [{"name": "tone", "uri": "s3://adapters/tone"}]}),
    ],
    ids=["OptimizeJob", "AdapterBundle"],
)
def test_the_other_kinds_survive_it_as_well(
    operator: OperatorProcess, kube: Kube, namespace: str, kind: Kind, spec: Obj
) -> None:
    user = User(kube, namespace, kind)
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(_burst, user, 30, **spec)
        time.sleep(0.3)
        operator.kill()
        names = burst.result()
    operator.start()
    eventually(lambda: _one_job_each(user, names), 60)
    _all_told(user, "jobName")


def test_an_end_that_nobody_watched_is_told_after_the_restart(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    pod = kubelet.run(name)
    status = user.phase("Running")
    operator.kill()
    kubelet.end(pod, 0, published(status, user))
    operator.start()
    user.phase("Complete")
    assert user.status()["artifact"]


def test_a_name_recreated_while_nobody_watched(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    first = user.job()["metadata"]["name"]
    kubelet.alive(first)
    user.phase("Pending")
    operator.kill()
    user.kube.delete("finetunejobs", user.namespace, "tone")
    created = user.create()
    operator.start()
    # The pod of before has its grace, and the same output: it has to be gone first.
    assert "namesake" in user.sees("Scheduled", "False", "Stopping")["message"]
    _let_go(kubelet, first)
    second = user.job(besides=first)
    assert second["metadata"]["ownerReferences"][0]["uid"] == created["metadata"]["uid"]
    # The old one goes by its owner reference.
    eventually(lambda: [job["metadata"]["uid"] for job in user.jobs()] == [uid_of(second)], 60)


def _let_go(kubelet: Kubelet, job: str) -> None:
    """End a Job's pods, as their node does once they are being deleted."""
    eventually(lambda: all("deletionTimestamp" in it["metadata"] for it in kubelet.pods(job)), 60)
    kubelet.finish_deletions(job)


def test_a_frozen_operator_catches_up(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    first = user.job()["metadata"]["name"]
    kubelet.alive(first)
    os.kill(operator.pid, signal.SIGSTOP)
    try:
        user.kube.delete("finetunejobs", user.namespace, "tone")
        created = user.create(training={"maxSteps": 7})
    finally:
        os.kill(operator.pid, signal.SIGCONT)
    _let_go(kubelet, first)

    eventually(
        lambda: (
            [it["metadata"]["ownerReferences"][0]["uid"] for it in user.jobs()] == [uid_of(created)]
        ),
        60,
    )


def test_sigterm_ends_it_soon(operator: OperatorProcess) -> None:
    assert operator.kill(signal.SIGTERM) < 3  # alone on a machine half a second
    operator.start()


@pytest.mark.parametrize("seconds", [0, pytest.param(75, marks=pytest.mark.faults)])
def test_the_api_server_is_restarted(tmp_path: Path, seconds: int) -> None:
    with Cluster(own("faults"), "control-plane") as cluster:
        apply_crds(cluster)
        kube = Kube(str(cluster.kubeconfig))
        kube.create("namespaces", None, {"metadata": {"name": "team"}})
        make_lease(kube)
        user = User(kube, "team")
        with OperatorProcess(cluster.kubeconfig, tmp_path) as operator:
            user.create("before")
            user.job("before")
            pid = operator.pid
            cluster.kill("kube-apiserver")
            eventually(lambda: "watch down (unreachable)" in operator.log.read_text(), 60)
            time.sleep(seconds)
            assert operator.probe("healthz") == 200
            cluster.start("kube-apiserver")
            Kube(str(cluster.kubeconfig)).list("namespaces", None)
            user = User(Kube(str(cluster.kubeconfig)), "team")
            user.create("after")
            user.job("after")
            user.change("before", suspend=True)
            eventually(lambda: user.job("before")["spec"]["suspend"] is True)
            assert operator.running
            assert operator.pid == pid
