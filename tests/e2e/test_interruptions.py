"""Whatever happens to a trainer pod, the run goes on and ends as if nothing had happened."""

import hashlib
import json
import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from e2e.processes import stopped, trainer_of
from e2e.runs import Json, Run, eventually

from luthier_cluster import Cluster
from luthier_demo import tenant


def adapter_digest(run: Run) -> str:
    """sha256 of the tuned weights."""
    weights = run.read(f"{run.status['artifact']['uri']}/adapter/adapter_model.safetensors")
    return hashlib.sha256(weights).hexdigest()


def logged_steps(run: Run) -> list[int]:
    lines = run.read(f"{run.status['artifact']['uri']}/report/metrics.jsonl").splitlines()
    return [entry["step"] for entry in map(json.loads, lines) if "loss" in entry]


@pytest.fixture(scope="module")
def undisturbed(luthier: Cluster, s3: Any) -> Json:
    """Weights and logged steps of the run that nobody disturbs."""
    from e2e.conftest import TINY

    namespace = f"undisturbed-{uuid.uuid4().hex[:6]}"
    tenant.create(luthier, namespace)
    run = Run(luthier, namespace, "calm", s3, TINY)
    run.apply()
    run.wait("Ready", within=240)
    assert run.status["restarts"].get("failures", 0) == 0
    return {"adapter": adapter_digest(run), "steps": logged_steps(run)}


def pod_deleted(run: Run, pod: str) -> None:
    run.kubectl("delete", "pod", pod, "--wait=false")


def pod_evicted(run: Run, pod: str) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": run.namespace},
    }
    path = f"/api/v1/namespaces/{run.namespace}/pods/{pod}/eviction"
    run.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def trainer_killed(run: Run, pod: str) -> None:
    """SIGKILL to the trainer, as the out-of-memory killer does it."""
    os.kill(trainer_of(run, pod), signal.SIGKILL)


def being_deleted(run: Run) -> None:
    """Wait until somebody has asked for the end of its pods."""
    eventually(
        "its pods are being deleted",
        lambda: all("deletionTimestamp" in pod["metadata"] for pod in run.pods()),
        within=60,
    )


@pytest.mark.parametrize(
    ("disturb", "counted"),
    [(pod_deleted, "disruptions"), (pod_evicted, "disruptions"), (trainer_killed, "failures")],
)
def test_a_disturbed_run_ends_as_an_undisturbed_one(
    tiny_run: Callable[[str], Run],
    undisturbed: Json,
    disturb: Callable[[Run, str], None],
    counted: str,
) -> None:
    run = tiny_run("stormy")
    run.apply()
    run.wait_for_checkpoint(150)
    first = run.running_pod()
    with stopped(run, first):  # else it might be done before
        disturb(run, first)
    eventually("a second pod", lambda: run.running_pod(120) != first, within=120)
    run.wait("Ready", within=240)

    assert adapter_digest(run) == undisturbed["adapter"]
    assert logged_steps(run) == undisturbed["steps"]
    restarts = run.status["restarts"]
    assert restarts[counted] == 1
    assert restarts["failures"] + restarts["disruptions"] == 1
    assert len(run.jobs()) == 1


def test_a_suspended_run_goes_on_from_its_checkpoint(
    tiny_run: Callable[[str], Run], undisturbed: Json
) -> None:
    run = tiny_run("paused")
    run.apply()
    run.wait_for_checkpoint(100)
    with stopped(run, run.running_pod()):
        run.apply({"suspend": True})
        being_deleted(run)
    run.wait("Suspended", within=90)
    eventually("no pod is left", lambda: not run.pods() or None, within=90)
    run.apply({"suspend": False})
    run.wait("Ready", within=240)
    assert adapter_digest(run) == undisturbed["adapter"]


def test_out_of_memory_twice_without_progress_names_the_lever(
    tiny_run: Callable[[str], Run],
) -> None:
    run = tiny_run("hungry")
    run.apply({"placement": {"pool": "small"}})
    failed = run.wait("Failed", within=240)
    assert failed["reason"] == "OutOfMemory"
    assert "perDeviceBatchSize" in failed["message"]
    assert run.status["restarts"]["failures"] == 2


def test_a_deleted_run_ends_its_pods_and_writes_nothing_after(
    tiny_run: Callable[[str], Run],
) -> None:
    run = tiny_run("doomed")
    run.apply()
    run.wait_for_checkpoint(100)
    folder = run.output_uri
    with stopped(run, run.running_pod()):
        run.delete(wait=False)
        being_deleted(run)
    eventually("its pods are gone", lambda: not run.pods() or None, within=90)
    assert not run.jobs()
    left = run.objects(folder)
    assert not any(key.endswith("/manifest.json") and "checkpoints" not in key for key in left)

    before = {key: entry["LastModified"] for key, entry in left.items()}
    time.sleep(10)
    assert {key: e["LastModified"] for key, e in run.objects(folder).items()} == before


def test_s3_gone_for_half_a_minute(
    luthier: Cluster, tiny_run: Callable[[str], Run], undisturbed: Json
) -> None:
    run = tiny_run("outage")
    run.apply()
    run.wait_for_checkpoint(100)
    pod = run.running_pod()
    with stopped(run, pod):
        luthier.stop("s3")
    time.sleep(30)
    luthier.start("s3")
    run.wait("Ready", within=240)
    assert [p["metadata"]["name"] for p in run.pods()] == [pod], "the same pod went on"
    assert adapter_digest(run) == undisturbed["adapter"]
