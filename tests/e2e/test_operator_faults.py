"""An operator that dies, and an API server that goes away: nothing twice, nothing lost."""

import json
import time
from collections.abc import Callable

import pytest
from e2e.processes import kill_in_pod
from e2e.runs import Run, eventually

from luthier_cluster import Cluster
from luthier_demo.install import NAMESPACE, RELEASE


def operator_pod(cluster: Cluster) -> dict[str, object]:
    selector = f"app.kubernetes.io/name={RELEASE}"
    found = cluster.kubectl("-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "json").stdout
    pods: list[dict[str, object]] = json.loads(found)["items"]
    return pods[0]


def kill_operator(cluster: Cluster) -> None:
    """SIGKILL to the operator's process on the node."""
    uid = str(operator_pod(cluster)["metadata"]["uid"])  # type: ignore[index]
    kill_in_pod(uid, "luthier_operator")


def operator_ready(cluster: Cluster) -> bool | None:
    status = operator_pod(cluster)["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}  # type: ignore[index]
    return conditions.get("Ready") == "True" or None


@pytest.mark.parametrize("moment", ["before-the-pod", "in-training", "at-the-end"])
def test_operator_killed(luthier: Cluster, tiny_run: Callable[[str], Run], moment: str) -> None:
    run = tiny_run("orphan")
    run.apply({"training": {"maxSteps": 400}})
    if moment == "in-training":
        run.wait_for_checkpoint(100)
    elif moment == "at-the-end":
        run.wait_for_checkpoint(350)
    kill_operator(luthier)
    eventually("the operator is ready again", lambda: operator_ready(luthier), within=120)
    run.wait("Ready", within=240)
    assert len(run.jobs()) == 1
    assert len(run.pods()) == 1
    assert run.status["restarts"] == {"failures": 0, "disruptions": 0, "total": 0}


def test_api_server_restarted(luthier: Cluster, tiny_run: Callable[[str], Run]) -> None:
    run = tiny_run("steady")
    run.apply({"training": {"maxSteps": 600}})
    run.wait_for_checkpoint(100)
    luthier.stop("kube-apiserver")
    time.sleep(8)
    luthier.start("kube-apiserver")
    run.wait("Ready", within=240)
    assert len(run.jobs()) == 1
    assert len(run.pods()) == 1
