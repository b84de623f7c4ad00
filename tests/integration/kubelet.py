"""Moves pods on as a kubelet would: the only stand-in of these tests."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from integration.kube import Kube, Obj, eventually, now

from luthier_operator.resources import INDEX_LABEL

NODE = "node-0"


def join(kube: Kube, name: str = NODE, labels: Obj | None = None) -> None:
    """A node that the scheduler uses."""
    kube.create("nodes", None, {"metadata": {"name": name, "labels": labels or {}}})
    heartbeat(kube, name)
    kube.patch("nodes", None, name, {"spec": {"taints": None}})


@contextmanager
def node(kube: Kube) -> Iterator[None]:
    """A node that joins, and says in time that it is well."""
    join(kube)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(5):
            try:
                heartbeat(kube)
            except Exception:  # the API server may be down in a test
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(timeout=10)


def heartbeat(kube: Kube, name: str = NODE) -> None:
    """Say that the node is well, as a kubelet does every few seconds."""
    amounts = {"cpu": "1000", "memory": "4000Gi", "pods": "5000"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "lastHeartbeatTime": now(),
        "lastTransitionTime": now(),
    }
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
    kube.patch("nodes", None, name, {"status": status}, "status")


class Kubelet:
    """The pods of one namespace. `off`: how far the node's clock is."""

    def __init__(self, kube: Kube, namespace: str, off: timedelta = timedelta()) -> None:
        self._kube = kube
        self._namespace = namespace
        self._off = off

    def pods(self, job: str) -> list[Obj]:
        """A Job's pods, oldest first."""
        pods = self._kube.list("pods", self._namespace, f"?labelSelector=job-name={job}")
        return sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def alive(self, job: str, index: int | None = None) -> Obj:
        """The Job's pod that hasn't ended, once it is on the node; of several that of an index."""

        def find() -> Obj:
            (pod,) = [
                pod
                for pod in self.pods(job)
                if pod["status"]["phase"] in ("Pending", "Running")
                and "deletionTimestamp" not in pod["metadata"]
                and pod["spec"].get("nodeName")
                and (index is None or pod["metadata"]["labels"].get(INDEX_LABEL) == str(index))
            ]
            return pod

        found: Obj = eventually(_unpacked(find))
        return found

    def run(self, job: str, index: int | None = None) -> Obj:
        """Start the Job's pod; of several that of an index."""
        pod = self.alive(job, index)
        self._status(pod, "Running", {"running": {"startedAt": now(self._off)}})
        return pod

    def wait(self, job: str, reason: str, message: str) -> Obj:
        """The Job's pod can't start its container."""
        pod = self.alive(job)
        self._status(pod, "Pending", {"waiting": {"reason": reason, "message": message}})
        return pod

    def end(
        self, pod: Obj, code: int, result: Obj | None = None, *, reason: str | None = None
    ) -> None:
        """End the pod's container."""
        terminated: dict[str, Any] = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": json.dumps(result) if result else "",
            "startedAt": now(self._off),
            "finishedAt": now(self._off),
        }
        phase = "Succeeded" if code == 0 else "Failed"
        self._status(pod, phase, {"terminated": terminated})

    def finish_deletions(self, job: str, code: int = 75) -> None:
        """End the pods that are being deleted, and let them go."""
        for pod in self.pods(job):
            if "deletionTimestamp" not in pod["metadata"]:
                continue
            if pod["status"]["phase"] in ("Pending", "Running"):
                self.end(pod, code)
            name = pod["metadata"]["name"]
            self._kube.delete("pods", self._namespace, name, gracePeriodSeconds=0)

    def _status(self, pod: Obj, phase: str, state: Obj) -> None:
        container = {
            "name": "trainer",
            "image": "x",
            "imageID": "x",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        status = {"phase": phase, "startTime": now(self._off), "containerStatuses": [container]}
        self._kube.patch(
            "pods", self._namespace, pod["metadata"]["name"], {"status": status}, "status"
        )


def _unpacked(find: Any) -> Any:
    def check() -> Any:
        try:
            return find()
        except ValueError as error:
            raise AssertionError(f"no pod yet: {error}") from error

    return check
