"""etcd put back to an older state: the operator's processes end, and the next one heals all."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clusters import apply_crds, own
from integration.kube import Kube, eventually
from integration.kubelet import Kubelet, node
from integration.operatorprocess import OperatorProcess, make_lease
from integration.user import User, published, train

from luthier_cluster import Cluster

NAMESPACE = "team"
# They hold what they knew in memory: who restores etcd starts them anew.
PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
# They are told nothing: a watch from a version that there isn't yet is silent, until there is.
SOON = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One whose past comes back."""
    with Cluster(own("restored"), "control-plane") as cluster:
        apply_crds(cluster)
        kube = Kube(str(cluster.kubeconfig))
        kube.create("namespaces", None, {"metadata": {"name": NAMESPACE}})
        make_lease(kube)
        with node(kube):
            yield cluster


def save(cluster: Cluster, copy: Path) -> None:
    """Copy etcd's data; the API server waits meanwhile."""
    cluster.stop("etcd")
    shutil.copytree(cluster.layout.state / "etcd", copy)
    cluster.start("etcd")


def restore(cluster: Cluster, copy: Path) -> None:
    """Put them back."""
    for component in reversed(PLANE):
        cluster.kill(component)
    shutil.rmtree(cluster.layout.state / "etcd")
    shutil.copytree(copy, cluster.layout.state / "etcd")
    for component in PLANE:
        cluster.start(component)


def complete(user: User, kubelet: Kubelet, name: str) -> None:
    """Let the run end whose pod is there; nothing of it has been made twice."""
    job = user.status(name)["jobName"]
    assert len(kubelet.pods(job)) == 1
    kubelet.end(kubelet.alive(job), 0, published(user.phase("Running", name), user, name))
    user.phase("Complete", name)
    names = [it["metadata"]["name"] for it in user.jobs(name)]
    assert len(names) == len(set(names))
    assert all(len(kubelet.pods(it)) == 1 for it in names)


def test_all_comes_to_its_right_end(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    kube = Kube(str(cluster.kubeconfig))
    user, kubelet = User(kube, NAMESPACE), Kubelet(kube, NAMESPACE)
    process = partial(OperatorProcess, cluster.kubeconfig, times=(8, 6, 1))
    with process(tmp_path / "one") as leader, process(tmp_path / "two") as standby:
        user.create("done")
        train(user, kubelet, "done")
        user.create("waiting", suspend=True)
        user.sees("Suspended", "True", name="waiting")
        for name in ("running", "deleted"):
            user.create(name)
            kubelet.run(user.job(name)["metadata"]["name"])
            user.phase("Running", name)
        before = user.job("running")["metadata"]["uid"]

        save(cluster, tmp_path / "etcd")

        # A second of work, all of which is lost.
        eventually(lambda: kube.delete("finetunejobs", NAMESPACE, "deleted"))
        user.create("later")
        user.job("later")
        complete(user, kubelet, "running")
        user.change("done", training={"maxSteps": 7})
        user.change("waiting", suspend=False)
        kubelet.run(user.job("waiting")["metadata"]["name"])
        user.phase("Running", "waiting")
        first = user.job("done", besides=user.jobs("done")[0]["metadata"]["name"])

        restore(cluster, tmp_path / "etcd")
        for each in (leader, standby):
            assert each.wait(SOON) == 1
            assert "why: VersionsWentBackError: " in each.log.read_text()

        kube = Kube(str(cluster.kubeconfig))
        user, kubelet = User(kube, NAMESPACE), Kubelet(kube, NAMESPACE)
        leader.start()
        # What was under way goes on, with the Job and the pod that it had.
        assert user.job("running")["metadata"]["uid"] == before
        complete(user, kubelet, "running")
        complete(user, kubelet, "deleted")
        # What was asked for since is asked for again, and gets the same name.
        assert user.phase("Complete", "done")["revision"].startswith("r1-")
        user.change("done", training={"maxSteps": 7})
        again = user.job("done", besides=user.jobs("done")[0]["metadata"]["name"])
        assert again["metadata"]["name"] == first["metadata"]["name"]
        user.phase("Suspended", "waiting")
        user.change("waiting", suspend=False)
        assert not user.jobs("later")
        user.create("later")
        for name, job in (
            ("done", again),
            ("waiting", user.job("waiting")),
            ("later", user.job("later")),
        ):
            kubelet.run(job["metadata"]["name"])
            # A status may be a moment behind a Job that has just been made.
            eventually(lambda it=job, of=name: user.status(of)["jobName"] == it["metadata"]["name"])
            complete(user, kubelet, name)
        defects = [it for it in leader.metrics() if 'result="defect"' in it]
        assert not defects, leader.log.read_text()
