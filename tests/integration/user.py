"""A user's view: FineTuneJobs, their status, their Jobs and Events."""

import copy
from typing import Any

from integration.kube import Kube, Obj, eventually

SPEC: Obj = {
    "model": {"uri": "s3://models/smollm2"},
    "task": "classification",
    "dataset": {"uri": "s3://data/a.jsonl", "template": "{text}: {label}", "evalFraction": 0.1},
    "training": {"maxSteps": 100},
    "output": {"uri": "s3://artifacts/models"},
}


class User:
    """Works in one namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace

    def create(self, name: str = "tone", annotations: Obj | None = None, **spec: Any) -> Obj:
        """`kubectl create` a FineTuneJob; `spec` replaces fields of a small valid one."""
        return self.kube.create(
            "finetunejobs",
            self.namespace,
            {
                "apiVersion": "luthier.dev/v1alpha1",
                "kind": "FineTuneJob",
                "metadata": {"name": name, "annotations": annotations or {}},
                "spec": copy.deepcopy(SPEC) | spec,
            },
        )

    def change(self, name: str = "tone", **spec: Any) -> None:
        """Merge-patch the spec."""
        self.kube.patch("finetunejobs", self.namespace, name, {"spec": spec})

    def annotate(self, name: str = "tone", **annotations: str) -> None:
        """Set annotations of luthier.dev."""
        values = {f"luthier.dev/{key}": value for key, value in annotations.items()}
        changes = {"metadata": {"annotations": values}}
        self.kube.patch("finetunejobs", self.namespace, name, changes)

    def status(self, name: str = "tone") -> Obj:
        """The status."""
        got = self.kube.get("finetunejobs", self.namespace, name)
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
        """The Jobs in the namespace, oldest first."""
        jobs = [
            job
            for job in self.kube.list("jobs", self.namespace)
            if name is None or job["metadata"]["labels"]["luthier.dev/name"] == name
        ]
        return sorted(jobs, key=lambda job: job["metadata"]["creationTimestamp"])

    def job(self, name: str = "tone", *, besides: str | None = None) -> Obj:
        """Wait for the one Job of a FineTuneJob, or for another one than `besides`."""

        def check() -> Obj:
            jobs = [job for job in self.jobs(name) if job["metadata"]["name"] != besides]
            assert len(jobs) == 1, [job["metadata"]["name"] for job in jobs]
            return jobs[0]

        return eventually(check)

    def events(self, name: str = "tone") -> list[str]:
        """Reasons of the Events about a FineTuneJob, oldest first."""
        events = [
            event
            for event in self.kube.list("events", self.namespace)
            if event["regarding"].get("kind") == "FineTuneJob"
            and event["regarding"].get("name") == name
        ]
        events.sort(key=lambda event: event["eventTime"] or "")
        return [event["reason"] for event in events]


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
