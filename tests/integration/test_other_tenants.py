"""What somebody makes in a namespace of their own costs nobody else a run."""

from collections.abc import Iterator

import pytest
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User, published


@pytest.fixture
def attacker(kube: Kube, namespace: str) -> Iterator[str]:
    """Another tenant's namespace; its Jobs lose their finalizers at the end."""
    name = f"{namespace}-attacker"
    kube.create("namespaces", None, {"metadata": {"name": name}})
    yield name
    for job in kube.list("jobs", name):
        free = {"metadata": {"finalizers": None}}
        kube.patch("jobs", name, job["metadata"]["name"], free)


def forge(kube: Kube, namespace: str, job: Obj, name: str, **labels: str) -> None:
    """A suspended Job that claims to serve the same resource, and that nobody can collect."""
    own = {
        key: value
        for key, value in job["metadata"]["labels"].items()
        if key.startswith("luthier.dev/")
    }
    pod = {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": "x"}]}
    metadata = {
        "name": name,
        "labels": own | {f"luthier.dev/{key}": value for key, value in labels.items()},
        "ownerReferences": job["metadata"]["ownerReferences"],
        "finalizers": ["example.com/never"],
    }
    spec = {"suspend": True, "template": {"spec": pod}}
    kube.create("jobs", namespace, {"metadata": metadata, "spec": spec})


def test_jobs_forged_elsewhere_neither_stop_nor_hold_up_a_run(
    operator: OperatorProcess, user: User, kube: Kube, kubelet: Kubelet, attacker: str
) -> None:
    user.create()
    job = user.job()
    name = job["metadata"]["name"]
    forge(kube, attacker, job, "same")
    forge(kube, attacker, job, "odd", revision="junk")
    forge(kube, attacker, job, "later", revision="r9-00000000", attempt="7")
    pod = kubelet.run(name)
    status = user.phase("Running")
    assert status["revision"] == job["metadata"]["labels"]["luthier.dev/revision"]
    kubelet.end(pod, 0, published(status, user))
    user.phase("Complete")

    user.change(training={"maxSteps": 7})
    second = user.job(besides=name)
    kubelet.run(second["metadata"]["name"])
    eventually(lambda: user.status()["phase"] == "Running")
    assert {it["metadata"]["name"] for it in kube.list("jobs", attacker)} >= {"odd", "later"}
