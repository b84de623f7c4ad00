"""A control plane with simulated nodes, and an operator (or several) that isn't a pod."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.scale.client import Client
from bench.scale.operator import SYSTEM, OperatorProcess, cpu_seconds
from luthier_cluster import Cluster, components, kwok, supervise
from luthier_demo import content

NAMESPACE = "bench"
FINE_TUNE_JOBS = f"/apis/luthier.dev/v1alpha1/namespaces/{NAMESPACE}/finetunejobs"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"
NAME_LABEL = "luthier.dev/name"
JOB_LABEL = "job-name"
NODES = 10
RUN_SECONDS = 1.0

Json = dict[str, Any]


class Fleet:
    """A cluster with the CRDs, a namespace, and nodes whose pods run a second."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.client = Client(cluster.kubeconfig)
        self._folder = folder
        (folder / "luthier.yaml").write_text(json.dumps(platform()))

    def operator(self, name: str = "operator-0", profile: Path | None = None) -> OperatorProcess:
        """Not started yet."""
        return OperatorProcess(name, self.cluster.kubeconfig, self._folder, profile)

    def cpu_seconds(self) -> dict[str, float]:
        """Of each program of the cluster, since its start."""
        names = (*components.names("control-plane"), kwok.NAME)
        found = {name: supervise.running(self.cluster.layout, name) for name in names}
        return {name: cpu_seconds(process.pid) for name, process in found.items() if process}

    def clear(self) -> None:
        """No resource, Job or pod is left."""
        for path in (FINE_TUNE_JOBS, JOBS, PODS):
            self.client.text("DELETE", f"{path}?propagationPolicy=Background&gracePeriodSeconds=0")
        words = ["delete", "finetunejobs,jobs,pods", "--all", "--timeout=280s"]
        self.cluster.kubectl("-n", NAMESPACE, *words, within=300)


@contextmanager
def fleet(seconds: float = RUN_SECONDS, name: str = "scale") -> Iterator[Fleet]:
    """One, gone after the block. `name`: the cluster's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luthier-scale-")))
        cluster = stack.enter_context(Cluster(name, "control-plane"))
        crds = str(content.REPOSITORY / "crds")
        cluster.kubectl("apply", "--server-side", "-f", crds)
        cluster.kubectl("wait", "--for=condition=Established", "-f", crds, "--timeout=30s")
        for namespace in (NAMESPACE, SYSTEM):
            cluster.kubectl("create", "namespace", namespace)
        account = ["wait", "serviceaccount/default", "--for=create", "--timeout=30s"]
        cluster.kubectl("-n", NAMESPACE, *account)
        kwok.start(cluster, NODES, seconds=seconds)
        made = Fleet(cluster, folder)
        # The chart makes it, for replicas to compete for.
        made.client.create(LEASES, {"metadata": {"name": "luthier"}, "spec": {}})
        yield made


def platform() -> Json:
    """luthier.yaml: one pool, of simulated nodes. Pure."""
    pool = {
        "name": "simulated",
        "image": "trainer:none",
        "nodeSelector": {kwok.SIMULATED: "true"},
        "tolerations": [kwok.TOLERATION],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "128Mi"}},
    }
    return {
        "defaultPool": "simulated",
        "pools": [pool],
        "storage": {"endpoint": "http://s3.invalid", "region": "us-east-1"},
    }


def fine_tune_job(name: str) -> Json:
    """A FineTuneJob as people write them. Pure."""
    return {
        "apiVersion": "luthier.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"uri": "s3://models/smollm2-135m-instruct"},
            "task": "classification",
            "dataset": {
                "uri": "s3://datasets/wordnet",
                "template": "{gloss}\nCategory: {label}",
                "test": "test[:300]",
            },
            "method": {"type": "lora", "lora": {"rank": 8, "alpha": 16}},
            "training": {"maxSteps": 60, "perDeviceBatchSize": 8, "learningRate": 2e-4},
            "evaluation": {"metrics": ["accuracy"]},
            "output": {"uri": "s3://artifacts/models"},
        },
    }


def bare_job(made: Json, name: str) -> Json:
    """A Job of the same pod as that which the operator made, without anything of Luthier's to
    watch it by. Pure."""
    template = json.loads(json.dumps(made["spec"]["template"]))
    template["metadata"]["labels"] = {}
    template["metadata"].pop("creationTimestamp", None)
    kept = ("completions", "parallelism", "backoffLimit", "podReplacementPolicy")
    spec = {key: made["spec"][key] for key in kept}
    spec["podFailurePolicy"] = made["spec"]["podFailurePolicy"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**spec, "template": template},
    }
