"""What runs have used, kept by a real operator on a real API server."""

import base64
from pathlib import Path

import pytest
from integration.kube import Kube, eventually, now
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess, make_lease, make_ledgers
from integration.user import User, published

from luthier_api.usage import LEDGER_KEY, Ledger, ledger_name, read_ledger
from luthier_cluster import Cluster

LEASE = ("luthier-usage", "luthier-usage")


@pytest.fixture(scope="module")
def own(kube: Kube) -> None:
    """A Lease and ledgers for this module's operators."""
    make_lease(kube, LEASE)
    make_ledgers(kube, LEASE)


@pytest.fixture
def process(control_plane: Cluster, namespace: str, folder: Path, own: None) -> OperatorProcess:
    """An operator of this namespace alone, which writes every second."""
    return OperatorProcess(
        control_plane.kubeconfig,
        folder,
        namespaces=namespace,
        lease=LEASE,
        environment={"LUTHIER_USAGE_SECONDS": "1"},
    )


def counter(operator: OperatorProcess, namespace: str, name: str) -> float:
    labels = f'kind="FineTuneJob",namespace="{namespace}",pool="cpu"'
    return operator.metrics()[f"luthier_usage_{name}_total{{{labels}}}"]


def ledger(kube: Kube, month: str) -> Ledger:
    obj = kube.get("configmaps", LEASE[0], ledger_name(LEASE[1], month))
    return read_ledger(base64.b64decode(obj["binaryData"][LEDGER_KEY]))


def test_the_sum_outlives_resources_and_operators(
    process: OperatorProcess, kube: Kube, user: User, kubelet: Kubelet
) -> None:
    namespace = user.namespace
    with process as operator:
        user.create(annotations={"luthier.dev/created-by": "jo@example.com"})
        pod = kubelet.run(eventually(lambda: user.status()["jobName"]))
        status = user.phase("Running")
        first = eventually(lambda: counter(operator, namespace, "cpu_seconds") or None)
        kubelet.end(pod, 0, published(status, user))
        user.phase("Complete")
        eventually(lambda: counter(operator, namespace, "trained_tokens") == 1000)
        ended = counter(operator, namespace, "cpu_seconds")
        assert ended >= first
        kube.delete("finetunejobs", namespace, "tone")
        eventually(lambda: not user.jobs())
        user.create("other")
        pod = kubelet.run(eventually(lambda: user.status("other")["jobName"]))
        eventually(lambda: counter(operator, namespace, "cpu_seconds") > ended)
        operator.kill()
        before = counter_in(ledger(kube, month()), namespace)
        # Nobody leads; the pod goes on, and its time counts.
        operator.start()
        after = eventually(
            lambda: (
                value if (value := counter(operator, namespace, "cpu_seconds")) > before else None
            )
        )
        assert counter(operator, namespace, "trained_tokens") == 1000
        kubelet.end(pod, 65)
        user.phase("Failed", "other")
        assert counter(operator, namespace, "cpu_seconds") >= after
    lines = [it for it in ledger(kube, month()).lines if it.namespace == namespace]
    assert {it.user for it in lines} == {"jo@example.com", ""}


def month() -> str:
    return now()[:7]


def counter_in(of: Ledger, namespace: str) -> float:
    return sum(it.cpu_seconds for it in of.lines if it.namespace == namespace)
