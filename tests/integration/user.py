"""A user's view: resources of one kind, their status, their Jobs and Events."""

import copy
import json
from dataclasses import dataclass
from typing import Any

from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet

SPEC: Obj = {
    "model": {"uri": "s3://models/smollm2"},
    "task": "classification",
    "dataset": {"uri": "s3://data/a.jsonl", "template": "{text}: {label}", "evalFraction": 0.1},
    "training": {"maxSteps": 100},
    "output": {"uri": "s3://artifacts/models"},
}


@dataclass(frozen=True)
class Kind:
    """A kind, and a small valid spec of it."""

    name: str
    plural: str
    spec: Obj


FINE_TUNE_JOB = Kind("FineTuneJob", "finetunejobs", SPEC)
OPTIMIZE_JOB = Kind(
    "OptimizeJob",
    "optimizejobs",
    {
        "source": {"fineTuneJobRef": {"name": "tone"}},
        "precisions": ["int8", "int4"],
        "output": {"uri": "s3://artifacts/models"},
    },
)
ADAPTER_BUNDLE = Kind(
    "AdapterBundle",
    "adapterbundles",
    {
        "base": {"uri": "s3://models/smollm2"},
        "adapters": [
            {"name": "tone", "fineTuneJobRef": {"name": "tone"}},
            {"name": "mood", "fineTuneJobRef": {"name": "mood"}},
        ],
        "output": {"uri": "s3://artifacts/models"},
    },
)


class User:
    """Works with one kind in one namespace."""

    def __init__(self, kube: Kube, namespace: str, kind: Kind = FINE_TUNE_JOB) -> None:
        self.kube = kube
        self.namespace = namespace
        self.kind = kind

    def create(self, name: str = "tone", annotations: Obj | None = None, **spec: Any) -> Obj:
        """`kubectl create` a resource; `spec` replaces fields of a small valid one."""
        return self.kube.create(
            self.kind.plural,
            self.namespace,
            {
                "apiVersion": "luthier.dev/v1alpha1",
                "kind": self.kind.name,
                "metadata": {"name": name, "annotations": annotations or {}},
                "spec": copy.deepcopy(self.kind.spec) | spec,
            },
        )

    def change(self, name: str = "tone", **spec: Any) -> None:
        """Merge-patch the spec."""
        self.kube.patch(self.kind.plural, self.namespace, name, {"spec": spec})

    def annotate(self, name: str = "tone", **annotations: str) -> None:
        """Set annotations of luthier.dev."""
        values = {f"luthier.dev/{key}": value for key, value in annotations.items()}
        changes = {"metadata": {"annotations": values}}
        self.kube.patch(self.kind.plural, self.namespace, name, changes)

    def status(self, name: str = "tone") -> Obj:
        """The status."""
        got = self.kube.get(self.kind.plural, self.namespace, name)
        return dict(got.get("status") or {})

    def condition(self, kind: str, name: str = "tone") -> Obj:
        """A condition; KeyError without it."""
        for condition in self.status(name).get("conditions", []):
            if condition["type"] == kind:
                return dict(condition)
        raise KeyError(kind)

    def sees(self, kind: str, status: str, reason: str | None = None, name: str = "tone") -> Obj:
        """Wait until a condition is so."""

        def check() -> Obj:
            condition = self.condition(kind, name)
            assert condition["status"] == status, condition
            assert reason is None or condition["reason"] == reason, condition
            return condition

        return eventually(check)

    def phase(self, phase: str, name: str = "tone") -> Obj:
        """Wait for a phase."""

        def check() -> Obj:
            status = self.status(name)
            assert status.get("phase") == phase, status
            return status

        return eventually(check)

    def jobs(self, name: str | None = None) -> list[Obj]:
        """The kind's Jobs in the namespace, oldest first."""
        jobs = [
            job
            for job in self.kube.list("jobs", self.namespace)
            if job["metadata"]["labels"]["luthier.dev/kind"] == self.kind.name
            and name in (None, job["metadata"]["labels"]["luthier.dev/name"])
        ]
        return sorted(jobs, key=lambda job: job["metadata"]["creationTimestamp"])

    def job(self, name: str = "tone", *, besides: str | None = None) -> Obj:
        """Wait for the one Job of a resource, or for another one than `besides`."""

        def check() -> Obj:
            jobs = [job for job in self.jobs(name) if job["metadata"]["name"] != besides]
            assert len(jobs) == 1, [job["metadata"]["name"] for job in jobs]
            return jobs[0]

        return eventually(check)

    def events(self, name: str = "tone") -> list[str]:
        """Reasons of the Events about a resource, oldest first."""
        events = [
            event
            for event in self.kube.list("events", self.namespace)
            if event["regarding"].get("kind") == self.kind.name
            and event["regarding"].get("name") == name
        ]
        events.sort(key=lambda event: event["eventTime"] or "")
        return [event["reason"] for event in events]


def order_of(job: Obj) -> Obj:
    """The order that a Job's pods get."""
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    return dict(json.loads(annotations["luthier.dev/runspec"]))


def result(status: Obj, **fields: Any) -> Obj:
    """What a trainer leaves in its termination message."""
    return {
        "revision": status["revision"],
        "attempt": status["attempt"],
        "outcome": "Succeeded",
        "datasetValid": True,
        "datasetSummary": "90 train rows, 10 eval rows",
        **fields,
    }


def published(status: Obj, user: User, name: str = "tone") -> Obj:
    """The result of a run that went well."""
    uri = f"s3://artifacts/models/{user.namespace}/{name}/{status['revision']}"
    return result(
        status,
        artifact={"uri": uri, "manifestSha256": "ab" * 32},
        evaluation={"split": "eval", "examples": 10, "base": {"loss": 3}, "tuned": {"loss": 1}},
        progress={"step": 100, "totalSteps": 100, "loss": 0.5},
        checkpoints=[{"step": 100, "uri": f"{uri}/checkpoints/100", "sha256": "cd" * 32}],
        usage={"cpuSeconds": 10, "gpuSeconds": 0, "trainedTokens": 1000},
        restarts={"failures": 0, "disruptions": 0},
    )


def train(user: User, kubelet: Kubelet, name: str = "tone") -> Obj:
    """Let the Job that a FineTuneJob asks for now run and publish; returns the artifact."""

    def job() -> str:
        got = user.kube.get(user.kind.plural, user.namespace, name)
        status = got["status"]
        assert status["observedGeneration"] == got["metadata"]["generation"]
        assert "artifact" not in status
        return str(status["jobName"])

    pod = kubelet.run(eventually(job))
    status = user.phase("Running", name)
    kubelet.end(pod, 0, published(status, user, name))
    artifact: Obj = user.phase("Complete", name)["artifact"]
    return artifact
