"""How the operator starts where much is stored: seconds until it is ready, its memory, its CPU.

One FineTuneJob is run as far as a pod that waits for a node. Then the API server gets as many
copies of the resource, its Job and its pod as are wanted, and an operator is started on them.
"""

import asyncio
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from luthier_api.customresources import UNSEEN
from luthier_cluster import Cluster
from luthier_operator.cluster import Cluster as Client
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, UID_LABEL, Resource

Json = dict[str, Any]
NAMESPACE = "bench"
ROOT = Path(__file__).parents[1]
COUNT = 10_000
AT_ONCE = 32
# Of the operator in the seconds after it is ready: by then it has its watches.
SETTLED_SECONDS = 20.0
CONFIG = """
defaultPool: cpu
pools:
- name: cpu
  image: trainer:test
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 128Mi}}
storage: {endpoint: "http://s3.invalid", region: us-east-1}
progressUrl: http://localhost:1
"""
SPEC: Json = {
    "model": {"uri": "s3://models/smollm2"},
    "task": "classification",
    "dataset": {"uri": "s3://data/a.jsonl", "template": "{text}: {label}", "evalFraction": 0.1},
    "training": {"maxSteps": 100},
    "output": {"uri": "s3://artifacts/models"},
}


class Operator:
    """The operator's process, and what /proc says of it."""

    def __init__(self, kubeconfig: Path, folder: Path, python_path: str, health_port: int) -> None:
        (folder / "luthier.yaml").write_text(CONFIG)
        self._health = f"http://127.0.0.1:{health_port}/readyz"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": python_path,
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "LUTHIER_CONFIG": str(folder / "luthier.yaml"),
            # What it does once it is ready isn't measured here.
            "LUTHIER_WORKERS": "1",
            "LUTHIER_METRICS_PORT": "0",
            "LUTHIER_PROGRESS_PORT": "0",
            "LUTHIER_HEALTH_PORT": str(health_port),
        }
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "luthier_operator"], env=environment, cwd=folder
        )

    def wait_ready(self, within: float = 180) -> float:
        """Seconds from its start until it is ready."""
        while time.monotonic() - self._began < within:
            try:
                with urllib.request.urlopen(self._health, timeout=5):  # noqa: S310 - our own port
                    return time.monotonic() - self._began
            except OSError:  # not listening yet, or 503
                if self._process.poll() is not None:
                    raise
                time.sleep(0.05)
        raise TimeoutError(f"the operator isn't ready after {within} s")

    def peak_mib(self) -> float:
        """The most memory that it ever had."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(it.split()[1] for it in lines if it.startswith("VmHWM"))) / 1024

    def cpu_seconds(self) -> float:
        """CPU time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)


@contextmanager
def running(kubeconfig: Path, python_path: str = "") -> Iterator[Operator]:
    """An operator of these sources, or of those of another PYTHONPATH."""
    with tempfile.TemporaryDirectory() as folder:
        operator = Operator(
            kubeconfig, Path(folder), python_path or os.environ.get("PYTHONPATH", ""), 18_081
        )
        try:
            yield operator
        finally:
            operator.stop()


def prepare(cluster: Cluster, count: int) -> None:
    """Store `count` resources, each with a Job and a pod."""
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    crds = str(ROOT / "crds")
    cluster.kubectl("wait", "--for=condition=Established", "-f", crds, "--timeout=30s")
    cluster.kubectl("create", "namespace", NAMESPACE)
    metadata = {"name": "pattern", "namespace": NAMESPACE}
    one = {
        "apiVersion": "luthier.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": metadata,
        "spec": SPEC,
    }
    with running(cluster.kubeconfig) as operator:
        operator.wait_ready()
        cluster.kubectl("create", "-f", "-", input=json.dumps(one))
        pattern = [_found(cluster, kind) for kind in ("finetunejobs", "jobs", "pods")]
    # Nobody is to work on the copies.
    cluster.stop("kube-controller-manager")
    cluster.stop("kube-scheduler")
    asyncio.run(_copy(cluster.kubeconfig, pattern, count))


def _found(cluster: Cluster, kind: str) -> Json:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        got = cluster.kubectl("-n", NAMESPACE, "get", kind, "-o", "json").stdout
        items: list[Json] = json.loads(got)["items"]
        if items and items[0].get("status", {}) not in ({}, UNSEEN):
            return items[0]
        time.sleep(0.5)
    raise TimeoutError(f"no {kind} with a status")


async def _copy(kubeconfig: Path, pattern: list[Json], count: int) -> None:
    configuration = Configuration()
    await load_kube_config(str(kubeconfig), client_configuration=configuration)
    client = Client(configuration)
    resource, job, pod = pattern
    numbers = iter(range(count))

    async def create(of: Resource, obj: Json, name: str, owner: Json | None) -> Json:
        made = copy.deepcopy(obj)
        metadata = made["metadata"]
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            metadata.pop(field, None)
        metadata["name"] = name
        metadata.pop("generateName", None)
        if owner is not None:
            (reference,) = metadata["ownerReferences"]
            reference["uid"] = owner["metadata"]["uid"]
            reference["name"] = owner["metadata"]["name"]
        return await client.create(of, made)

    async def copies() -> None:
        for number in numbers:
            name = f"copy-{number:05}"
            owner = await create(FINE_TUNE_JOBS, resource, name, None)
            await client.patch_status(FINE_TUNE_JOBS, owner, resource["status"])
            uid = owner["metadata"]["uid"]
            for it in (job, pod):
                it["metadata"]["labels"][UID_LABEL] = uid
            made = await create(JOBS, _of_nobody(job), name, owner)
            labelled = copy.deepcopy(pod)
            labelled["metadata"]["labels"][UID_LABEL] = uid
            labelled["spec"].pop("nodeName", None)
            await create(PODS, labelled, name, made)

    try:
        await _gather(copies, AT_ONCE)
    finally:
        await client.close()


async def _gather(work: Callable[[], Awaitable[None]], times: int) -> None:
    await asyncio.gather(*(work() for _ in range(times)))


def _of_nobody(job: Json) -> Json:
    """A Job for which the API server chooses the selector anew."""
    made = copy.deepcopy(job)
    made["spec"].pop("selector", None)
    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        for name in list(labels):
            if name.endswith(("controller-uid", "job-name")):
                del labels[name]
    return made


def measure(cluster: Cluster, python_path: str = "") -> dict[str, float]:
    """One start of the operator."""
    with running(cluster.kubeconfig, python_path) as operator:
        figures = {"ready": operator.wait_ready()}
        figures["cpu"] = operator.cpu_seconds()
        figures["peak"] = operator.peak_mib()
        time.sleep(SETTLED_SECONDS)
        figures["settled peak"] = operator.peak_mib()
        return figures


def rows(count: int = COUNT) -> list[tuple[str, str]]:
    """(what, figure) for the table."""
    with Cluster("bench-start", "control-plane") as cluster:
        prepare(cluster, count)
        found = measure(cluster)
    what = f"start with {count:,} resources, Jobs and pods"
    return [
        (f"{what}: until ready", f"{found['ready']:.1f} s"),
        (f"{what}: CPU until ready", f"{found['cpu']:.1f} s"),
        (f"{what}: most memory until ready", f"{found['peak']:.0f} MiB"),
        (f"{what}: most memory 20 s later", f"{found['settled peak']:.0f} MiB"),
    ]
