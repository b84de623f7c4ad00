"""What the end-to-end tests do with a resource: as a user would, by kubectl and S3.

What they look at time and again they ask the API server for: a kubectl each time would take a
third of a core from the pods that are waited for.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from integration.kube import Kube
from kubernetes.client import ApiException

from luthier_cluster import Cluster

Json = dict[str, Any]
T = TypeVar("T")


def deep_merge(base: Json, changes: Json) -> Json:
    """`base` with `changes` in it; None removes a key, lists are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


# On a busy machine all comes later, and a limit that is not reached costs nothing.
PATIENCE = 4


def eventually(what: str, probe: Callable[[], T | None], within: float, every: float = 0.5) -> T:
    """The first truthy answer of `probe`. AssertionError when there is none in `within` seconds of
    a quiet machine."""
    deadline = time.monotonic() + PATIENCE * within
    while True:
        if found := probe():
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(every)


def api(kubeconfig: Path) -> Kube:
    """The API server, as its administrator. One connection for all tests."""
    # Another cluster may come up under the name of one that is gone.
    return _api(kubeconfig, kubeconfig.read_bytes())


@cache
def _api(kubeconfig: Path, _content: bytes) -> Kube:
    return Kube(str(kubeconfig))


@dataclass
class Run:
    """One resource in a tenant's namespace."""

    cluster: Cluster
    namespace: str
    name: str
    s3: Any
    base_spec: Json = field(repr=False)
    kind: str = "FineTuneJob"

    def kubectl(self, *words: str, check: bool = True, within: float = 60, **more: Any) -> str:
        return self.cluster.kubectl(
            "-n", self.namespace, *words, check=check, within=within, **more
        ).stdout

    def apply(self, changes: Json | None = None, annotations: dict[str, str] | None = None) -> None:
        manifest = {
            "apiVersion": "luthier.dev/v1alpha1",
            "kind": self.kind,
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "annotations": annotations or {},
            },
            "spec": deep_merge(self.base_spec, changes or {}),
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(manifest))

    def get(self) -> Json:
        return self.api.get(f"{self.kind.lower()}s", self.namespace, self.name)

    @property
    def api(self) -> Kube:
        return api(self.cluster.kubeconfig)

    @property
    def status(self) -> Json:
        return self.get().get("status", {})  # type: ignore[no-any-return]

    def condition(self, kind: str) -> Json:
        """The condition of that type, {} when it isn't there."""
        conditions = self.status.get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def wait(self, condition: str, within: float = 180, status: str = "True") -> Json:
        """Wait as a user would; fails early, with the whole story, when the run ended otherwise."""

        def probe() -> Json | None:
            found = self.condition(condition)
            if found.get("status") == status:
                return found
            failed = self.condition("Failed")
            assert condition in ("Failed", "Stalled", "DatasetValid") or (
                failed.get("status") != "True"
            ), self.story()
            return None

        try:
            return eventually(f"{self.name} {condition}={status}", probe, within)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def wait_for_step(self, step: int, within: float = 120) -> int:
        """Until status shows at least `step`; returns what it shows."""

        def probe() -> int | None:
            done = self.status.get("progress", {}).get("step", 0)
            return done if done >= step else None

        try:
            return eventually(f"{self.name} at step {step}", probe, within, every=0.25)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def jobs(self) -> list[Json]:
        return self._items("jobs")

    def pods(self) -> list[Json]:
        """Its pods, the oldest first."""
        return sorted(self._items("pods"), key=lambda pod: pod["metadata"]["creationTimestamp"])

    def log(self, pod: str) -> str:
        """All that a pod has written so far; nothing as long as it has no container."""
        try:
            text = self.api.text(f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log")
        except ApiException:
            return ""
        return text

    def wait_for_line(self, line: str, within: float = 120, besides: str = "") -> str:
        """Until the pod that runs (another one than `besides`) has logged `line`; its name."""

        def probe() -> str | None:
            for pod in self.pods():
                name = str(pod["metadata"]["name"])
                runs = pod.get("status", {}).get("phase") == "Running" and name != besides
                if runs and "deletionTimestamp" not in pod["metadata"] and line in self.log(name):
                    return name
            return None

        try:
            return eventually(f"{self.name} says {line!r}", probe, within, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def logs(self) -> str:
        return "\n".join(
            f"--- {pod['metadata']['name']}\n"
            + self.kubectl("logs", pod["metadata"]["name"], "--tail=60", check=False)
            for pod in self.pods()
        )

    def story(self) -> str:
        """All that a person would look at to find out what happened."""
        return "\n".join(
            [
                self.kubectl("get", self.kind.lower(), self.name, "-o", "yaml", check=False),
                self.kubectl("get", "jobs,pods", "-o", "wide", check=False),
                self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False),
                self.logs(),
            ]
        )

    def objects(self, uri: str | None = None) -> dict[str, Json]:
        """Objects below a folder of S3 (this run's output), by key."""
        bucket, _, prefix = (uri or self.output_uri).removeprefix("s3://").partition("/")
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        content: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    @property
    def output_uri(self) -> str:
        """Folder of the current revision."""
        base = self.base_spec["output"]["uri"]
        return f"{base}/{self.namespace}/{self.name}/{self.status['revision']}"

    def retry(self, within: float = 60) -> None:
        """Ask for another attempt, and wait until it has begun."""
        attempt = self.status["attempt"] + 1
        self.kubectl(
            "annotate", "--overwrite", self.kind.lower(), self.name, f"luthier.dev/retry={attempt}"
        )
        eventually(
            f"attempt {attempt} of {self.name}",
            lambda: self.status.get("attempt") == attempt,
            within,
        )

    def delete(self, wait: bool = True) -> None:
        wait_word = f"--wait={str(wait).lower()}"
        self.kubectl("delete", self.kind.lower(), self.name, "--ignore-not-found", wait_word)

    def _items(self, kind: str) -> list[Json]:
        return self.api.list(kind, self.namespace, f"?labelSelector=luthier.dev/name={self.name}")


def checkpointed(run: Run, folder: str) -> list[int]:
    """Steps of the complete checkpoints in a revision's folder."""
    found = re.findall(r"step-(\d+)/manifest", " ".join(run.objects(folder)))
    return [int(step) for step in found]
