"""The full local cluster that the benchmarks run on, and what they do there."""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier_cluster import Cluster, binaries, processes
from luthier_demo import content, install, tenant

NAMESPACE = "bench"
TINY_MODEL = content.REPOSITORY / "tests" / "e2e" / "tiny_model.py"

Json = dict[str, Any]


class Bench:
    """A full node named `bench` with the chart and the tiny model; gone after the block."""

    def __init__(self) -> None:
        self.cluster = Cluster("bench")

    def __enter__(self) -> "Bench":
        try:
            self._prepare()
        except BaseException:
            self.cluster.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cluster.down()

    def _prepare(self) -> None:
        self.cluster.up()
        content.put_in_s3(self.cluster)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(TINY_MODEL), str(content.model()), folder]
            subprocess.run(command, check=True, timeout=180)
            content.upload(self.cluster, Path(folder), "models", "tiny")
        tag = install.operator_image(self.cluster)
        # One replica: what is measured is the one that leads.
        values = install.values(self.cluster, tag, [install.mounted_pool()]) | {"replicas": 1}
        install.install(self.cluster, values)
        tenant.create(self.cluster, NAMESPACE)

    @property
    def kubectl(self) -> list[str]:
        """The command's first words, for what has to be read while it runs."""
        program = binaries.tools() / "kubectl"
        return [str(program), "--kubeconfig", str(self.cluster.kubeconfig), "-n", NAMESPACE]

    def manifest(self, name: str, training: Json) -> Json:
        return {
            "apiVersion": "luthier.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "model": {"uri": "s3://models/tiny"},
                "task": "classification",
                "dataset": {
                    "uri": "s3://datasets/wordnet",
                    "template": "{gloss}\nCategory: {label}",
                    "test": "test[:50]",
                },
                "training": {"perDeviceBatchSize": 4, "maxLength": 64, **training},
                "evaluation": {"metrics": ["accuracy"]},
                "output": {"uri": "s3://artifacts/bench"},
            },
        }

    def apply(self, name: str, training: Json) -> None:
        document = json.dumps(self.manifest(name, training))
        self.cluster.kubectl("apply", "-f", "-", input=document)

    def wait_ready(self, name: str, within: float = 180) -> None:
        words = ["wait", f"ftj/{name}", "--for=condition=Ready", f"--timeout={within:g}s"]
        self.cluster.kubectl("-n", NAMESPACE, *words, within=within + 10)

    def create_finished(self, name: str) -> None:
        """A resource whose status says that its revision is complete."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {
            "status": "True",
            "reason": "Succeeded",
            "message": "",
            "observedGeneration": 1,
        }
        status = {
            "phase": "Complete",
            "observedGeneration": 1,
            "revision": "r1-00000000",
            "attempt": 1,
            "conditions": [
                {**condition, "type": kind, "lastTransitionTime": now}
                for kind in ("Complete", "Ready")
            ],
        }
        self.cluster.kubectl(
            "create", "-f", "-", input=json.dumps(self.manifest(name, {"maxSteps": 1}))
        )
        patch = json.dumps({"status": status})
        words = ["patch", "ftj", name, "--subresource=status", "--type=merge", "-p", patch]
        self.cluster.kubectl("-n", NAMESPACE, *words)

    def operator_pods(self) -> list[Json]:
        words = ["get", "pods", "-l", "app.kubernetes.io/name=luthier", "-o", "json"]
        found = self.cluster.kubectl("-n", install.NAMESPACE, *words).stdout
        pods: list[Json] = json.loads(found)["items"]
        return pods

    def operator_process(self) -> Path:
        """/proc folder of the operator's process."""
        uid = self.operator_pods()[0]["metadata"]["uid"]
        return Path("/proc", str(processes.in_pod(uid, "luthier_operator")))

    def api_writes(self) -> float:
        """What the operator has counted so far."""
        name = self.operator_pods()[0]["metadata"]["name"]
        path = f"/api/v1/namespaces/{install.NAMESPACE}/pods/{name}:8080/proxy/metrics"
        metrics = self.cluster.kubectl("get", "--raw", path).stdout
        found = re.findall(r"^luthier_operator_api_writes_total\{[^}]*\} (\S+)$", metrics, re.M)
        return sum(map(float, found))
