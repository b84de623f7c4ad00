"""Simulated nodes on a real API server: pods of Jobs end as a trainer's would."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from integration.kube import Kube, Obj, eventually

from luthier_api.result import RunResult
from luthier_cluster import Cluster, kwok

OUTPUT = "s3://artifacts/models/team/tone/r1-0a1b2c3d"


@pytest.fixture
def simulated(control_plane: Cluster) -> Iterator[list[str]]:
    yield kwok.start(control_plane, nodes=2, gpus=4, seconds=None)
    kwok.stop(control_plane)


def job(name: str, **resources: Any) -> Obj:
    """A Job whose pod carries what the operator writes on it."""
    template = {
        "metadata": {
            "labels": {"luthier.dev/revision": "r1-0a1b2c3d", "luthier.dev/attempt": "2"},
            "annotations": {"luthier.dev/runspec": json.dumps({"output": OUTPUT})},
        },
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {kwok.SIMULATED: "true"},
            "tolerations": [kwok.TOLERATION],
            "containers": [{"name": "trainer", "image": "none", "resources": resources}],
        },
    }
    return {"metadata": {"name": name}, "spec": {"template": template}}


def pod(kube: Kube, namespace: str, of: str, phase: str) -> Obj:
    """The Job's pod, once it is in that phase."""

    def find() -> Obj | None:
        [found] = kube.list("pods", namespace, f"?labelSelector=job-name={of}") or [None]
        return found if found and found["status"]["phase"] == phase else None

    return eventually(find, 90)


def test_a_pod_ends_with_a_result_when_it_is_told(
    kube: Kube, namespace: str, simulated: list[str]
) -> None:
    kube.create("jobs", namespace, job("run", limits={"nvidia.com/gpu": "3"}))
    running = pod(kube, namespace, "run", "Running")
    assert running["spec"]["nodeName"] in simulated

    annotations = {"metadata": {"annotations": {kwok.END: ""}}}
    kube.patch("pods", namespace, running["metadata"]["name"], annotations)
    ended = pod(kube, namespace, "run", "Succeeded")
    [status] = ended["status"]["containerStatuses"]
    terminated = status["state"]["terminated"]
    result = RunResult.model_validate_json(terminated["message"])
    assert (result.revision, result.attempt, result.outcome) == ("r1-0a1b2c3d", 2, "Succeeded")
    assert result.artifact is not None
    assert result.artifact.uri == OUTPUT
    eventually(lambda: kube.get("jobs", namespace, "run")["status"].get("succeeded") == 1)


def test_gpus_are_counted(kube: Kube, namespace: str, simulated: list[str]) -> None:
    for name in ("one", "two", "three"):
        kube.create("jobs", namespace, job(name, limits={"nvidia.com/gpu": "3"}))
    nodes = {pod(kube, namespace, name, "Running")["spec"]["nodeName"] for name in ("one", "two")}
    assert nodes == set(simulated)
    waiting = pod(kube, namespace, "three", "Pending")
    eventually(
        lambda: (
            "Insufficient nvidia.com/gpu"
            in kube.get("pods", namespace, waiting["metadata"]["name"])["status"]["conditions"][0][
                "message"
            ]
        )
    )
