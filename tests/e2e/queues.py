"""Queues of Kueue, each with a quota of its own, and what Kueue knows of runs."""

import json
from dataclasses import dataclass
from typing import Any

from e2e.pods import apply
from e2e.runs import Json, Run, eventually

from luthier_cluster import Cluster, kueue, kwok

URGENT = "urgent"
# What a run of Luthier's asks for beside its GPUs is never short.
PLENTY = {"cpu": "100", "memory": "100Gi"}


@dataclass(frozen=True)
class Team:
    """A namespace that Kueue looks after."""

    cluster: Cluster
    namespace: str
    s3: Any

    def queue(self, name: str, quotas: Json, node_labels: Json | None = None) -> str:
        """A queue that no other shares quota with; its name."""
        flavour = [{"name": key, "nominalQuota": amount} for key, amount in quotas.items()]
        group = {
            "coveredResources": list(quotas),
            "flavors": [{"name": name, "resources": flavour}],
        }
        spec = {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [group],
        }
        apply(
            self.cluster,
            _object("ResourceFlavor", name, spec={"nodeLabels": node_labels or {}}),
            _object("ClusterQueue", name, spec=spec),
            _object("LocalQueue", name, namespace=self.namespace, spec={"clusterQueue": name}),
        )
        return name

    def gpu_queue(self, name: str, gpus: int = 2) -> str:
        """A queue for simulated nodes."""
        quotas = {**PLENTY, "nvidia.com/gpu": gpus}
        return self.queue(name, quotas, {kwok.SIMULATED: "true"})

    def run(self, name: str, spec: Json) -> Run:
        return Run(self.cluster, self.namespace, name, self.s3, spec)


def _object(kind: str, name: str, namespace: str | None = None, **fields: Any) -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": kueue.API_VERSION, "kind": kind, "metadata": metadata, **fields}


def priority_class(name: str, value: int) -> Json:
    return _object("WorkloadPriorityClass", name, value=value, description="")


def workload(run: Run) -> Json | None:
    """What Kueue has for the run's Job; None: nothing."""
    items = json.loads(run.kubectl("get", "workloads.kueue.x-k8s.io", "-o", "json"))["items"]
    owners = {job["metadata"]["uid"] for job in run.jobs()}
    for item in items:
        if owners & {it["uid"] for it in item["metadata"].get("ownerReferences", [])}:
            return dict(item)
    return None


def has_pod(run: Run) -> bool:
    """Whether a pod of it lives that nobody has asked to end."""
    return any(
        pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        for pod in run.pods()
    )


def wait_for_pods(*runs: Run) -> None:
    names = ", ".join(run.name for run in runs)
    eventually(f"pods of {names} run", lambda: all(map(has_pod, runs)), within=60)


def end(run: Run) -> None:
    """Its pod on a simulated node ends well."""
    [pod] = [pod["metadata"]["name"] for pod in run.pods() if pod["status"]["phase"] == "Running"]
    run.kubectl("annotate", "pod", pod, f"{kwok.END}=")


def waits(run: Run, *words: str) -> Json:
    """Its `Scheduled`, once that is False and says all of these words."""

    def probe() -> Json | None:
        found = run.condition("Scheduled")
        said = found.get("message", "").lower()
        held = found.get("status") == "False" and all(word.lower() in said for word in words)
        return found if held else None

    try:
        return eventually(f"{run.name} waits because of {words}", probe, within=60)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.story()}") from None
