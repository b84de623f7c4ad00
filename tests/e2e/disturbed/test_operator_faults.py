"""An operator that dies, and an API server that goes away: nothing twice, nothing lost."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from e2e.processes import hold_at, kill_in_pod
from e2e.runs import Run, api, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for

from luthier_cluster import Cluster
from luthier_demo.install import NAMESPACE, RELEASE

# name → the step at which the operator is killed, None: before there is a pod.
MOMENTS = {"before-the-pod": None, "in-training": 100, "at-the-end": 280}


def leader(cluster: Cluster) -> str:
    """Who holds the Lease: a pod's name, `_` and what tells its processes apart."""
    lease = api(cluster.kubeconfig).get("leases", NAMESPACE, RELEASE)
    return str(lease["spec"].get("holderIdentity") or "")


def kill_leader(cluster: Cluster) -> None:
    """SIGKILL to its process on the node."""
    name = eventually("one leads", lambda: leader(cluster), within=30).partition("_")[0]
    pod = api(cluster.kubeconfig).get("pods", NAMESPACE, name)
    kill_in_pod(pod["metadata"]["uid"], "luthier_operator")


def operators_ready(cluster: Cluster) -> bool:
    selector = f"?labelSelector=app.kubernetes.io/name={RELEASE}"
    pods = api(cluster.kubeconfig).list("pods", NAMESPACE, selector)
    conditions = [{c["type"]: c["status"] for c in pod["status"]["conditions"]} for pod in pods]
    return [it.get("Ready") for it in conditions] == ["True", "True"]


@pytest.fixture(scope="module")
def orphans(luthier: Cluster, s3: Any) -> Iterator[dict[str, Run]]:
    """Runs whose operator is killed, each at its moment."""
    steps = {name: step for name, step in MOMENTS.items() if step is not None}
    with namespace_for(luthier, "orphans") as namespace, ExitStack() as stack:
        runs = {name: Run(luthier, namespace, name, s3, TINY) for name in MOMENTS}
        for name in steps:
            runs[name].apply()
        for held in hold_at({name: runs[name] for name in steps}, steps):
            stack.callback(held.release)
        before = leader(luthier)
        runs["before-the-pod"].apply()
        kill_leader(luthier)
        stack.close()
        eventually("another one leads", lambda: leader(luthier) not in ("", before), within=60)
        eventually("both are ready again", lambda: operators_ready(luthier), within=120)
        yield runs


@pytest.mark.parametrize("moment", MOMENTS)
def test_operator_killed(orphans: dict[str, Run], moment: str) -> None:
    run = orphans[moment]
    run.wait("Ready", within=240)
    assert len(run.jobs()) == 1
    assert len(run.pods()) == 1
    assert run.status["restarts"] == {"failures": 0, "disruptions": 0, "total": 0}


def test_api_server_restarted(luthier: Cluster, s3: Any) -> None:
    with namespace_for(luthier, "steady") as namespace:
        run = Run(luthier, namespace, "steady", s3, TINY)
        run.apply()
        [held] = hold_at({"steady": run}, {"steady": 100})
        luthier.stop("kube-apiserver")
        try:
            held.release()
            time.sleep(8)
        finally:
            luthier.start("kube-apiserver")
        run.wait("Ready", within=240)
        assert len(run.jobs()) == 1
        assert len(run.pods()) == 1
