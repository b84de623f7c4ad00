"""Whatever happens to a trainer pod, the run goes on and ends as if nothing had happened.

All runs are applied together, and hit together in the middle: their pods start and train side by
side, and each test judges how one of them ended.
"""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from e2e.processes import Held, hold_at
from e2e.runs import Json, Run, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for

from luthier_cluster import Cluster

# Of 300 steps.
MIDDLE = 100


def adapter_digest(run: Run) -> str:
    """sha256 of the tuned weights."""
    weights = run.read(f"{run.status['artifact']['uri']}/adapter/adapter_model.safetensors")
    return hashlib.sha256(weights).hexdigest()


def logged_steps(run: Run) -> list[int]:
    lines = run.read(f"{run.status['artifact']['uri']}/report/metrics.jsonl").splitlines()
    return [entry["step"] for entry in map(json.loads, lines) if "loss" in entry]


def pod_deleted(hit: Held) -> None:
    hit.run.kubectl("delete", "pod", hit.pod, "--wait=false")


def pod_evicted(hit: Held) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": hit.pod, "namespace": hit.run.namespace},
    }
    path = f"/api/v1/namespaces/{hit.run.namespace}/pods/{hit.pod}/eviction"
    hit.run.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def trainer_killed(hit: Held) -> None:
    """SIGKILL to the trainer, as the out-of-memory killer does it."""
    os.kill(hit.pid, signal.SIGKILL)


def suspended(hit: Held) -> None:
    hit.run.apply({"suspend": True})
    being_deleted(hit.run)


def resource_deleted(hit: Held) -> None:
    hit.run.delete(wait=False)
    being_deleted(hit.run)


def being_deleted(run: Run) -> None:
    """Wait until somebody has asked for the end of its pods."""
    eventually(
        "its pods are being deleted",
        lambda: all("deletionTimestamp" in pod["metadata"] for pod in run.pods()),
        within=60,
    )


FAULTS: dict[str, Callable[[Held], None]] = {
    "deleted": pod_deleted,
    "evicted": pod_evicted,
    "killed": trainer_killed,
    "paused": suspended,
    "doomed": resource_deleted,
}


@pytest.fixture(scope="module")
def runs(luthier: Cluster, s3: Any) -> Iterator[dict[str, Run]]:
    """`calm` that nobody disturbs, `hungry` in a pool that is too small, one for each fault."""
    with namespace_for(luthier, "interruptions") as namespace:
        found = {
            name: Run(luthier, namespace, name, s3, TINY) for name in ("hungry", "calm", *FAULTS)
        }
        for name, run in found.items():
            run.apply({"placement": {"pool": "small"}} if name == "hungry" else {})
        yield found


@pytest.fixture(scope="module")
def hits(runs: dict[str, Run]) -> dict[str, Held]:
    """All of them, held in the middle, hit, and let go on."""
    held = hold_at({name: runs[name] for name in FAULTS}, dict.fromkeys(FAULTS, MIDDLE))
    hits = dict(zip(FAULTS, held, strict=True))
    for name, hit in hits.items():
        FAULTS[name](hit)
        hit.release()
    return hits


@pytest.fixture(scope="module")
def undisturbed(runs: dict[str, Run]) -> Json:
    """Weights and logged steps of the run that nobody disturbs."""
    run = runs["calm"]
    run.wait("Ready", within=300)
    assert run.status["restarts"].get("failures", 0) == 0
    return {"adapter": adapter_digest(run), "steps": logged_steps(run)}


@pytest.mark.parametrize(
    ("fault", "counted"),
    [("deleted", "disruptions"), ("evicted", "disruptions"), ("killed", "failures")],
)
def test_a_disturbed_run_ends_as_an_undisturbed_one(
    hits: dict[str, Held], undisturbed: Json, fault: str, counted: str
) -> None:
    hit, run = hits[fault], hits[fault].run
    run.wait("Ready", within=300)
    assert run.pods()[-1]["metadata"]["name"] != hit.pod, "another pod went on"

    assert adapter_digest(run) == undisturbed["adapter"]
    assert logged_steps(run) == undisturbed["steps"]
    restarts = run.status["restarts"]
    assert restarts[counted] == 1
    assert restarts["failures"] + restarts["disruptions"] == 1
    assert len(run.jobs()) == 1


def test_a_suspended_run_goes_on_from_its_checkpoint(
    hits: dict[str, Held], undisturbed: Json
) -> None:
    run = hits["paused"].run
    run.wait("Suspended", within=90)
    eventually("no pod is left", lambda: not run.pods() or None, within=90)
    run.apply({"suspend": False})
    run.wait("Ready", within=300)
    assert adapter_digest(run) == undisturbed["adapter"]


def test_out_of_memory_twice_without_progress_names_the_lever(runs: dict[str, Run]) -> None:
    run = runs["hungry"]
    failed = run.wait("Failed", within=300)
    assert failed["reason"] == "OutOfMemory"
    assert "perDeviceBatchSize" in failed["message"]
    assert run.status["restarts"]["failures"] == 2


def test_a_deleted_run_ends_its_pods_and_writes_nothing_after(hits: dict[str, Held]) -> None:
    run = hits["doomed"].run
    eventually("its pods are gone", lambda: not run.pods() or None, within=90)
    assert not run.jobs()
    # It can't be asked for its revision any more.
    folder = f"{run.base_spec['output']['uri']}/{run.namespace}/{run.name}/"
    left = run.objects(folder)
    assert any("/checkpoints/" in key for key in left)
    assert not any(key.endswith("/manifest.json") and "checkpoints" not in key for key in left)

    before = {key: entry["LastModified"] for key, entry in left.items()}
    time.sleep(3)
    assert {key: e["LastModified"] for key, e in run.objects(folder).items()} == before
