"""A real control plane with a node that the tests play, and the operator as a process."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import clusters
import pytest
from integration.kube import Kube
from integration.kubelet import Kubelet, node
from integration.operatorprocess import OperatorProcess, make_lease, make_ledgers
from integration.user import ADAPTER_BUNDLE, OPTIMIZE_JOB, User

from luthier_cluster import Cluster, jobset

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """Another than that of the other folders' tests: operators run on it, and would look after
    whatever is there."""
    if Cluster.external():
        pytest.fail(
            "these tests play a node and kill the operator: they don't run on the cluster that "
            "CLUSTER_KUBECONFIG names; unset it"
        )
    with Cluster(clusters.own("integration"), "control-plane") as cluster:
        clusters.apply_crds(cluster)
        # Before an operator looks for it: it does so once a minute.
        jobset.install_kind(cluster)
        yield cluster


@pytest.fixture(scope="session")
def kube(control_plane: Cluster) -> Iterator[Kube]:
    """The API server, with one node."""
    kube = Kube(str(control_plane.kubeconfig))
    make_lease(kube)
    make_ledgers(kube)
    with node(kube):
        yield kube


@pytest.fixture
def namespace(kube: Kube) -> str:
    """A namespace of its own."""
    name = f"team-{next(_numbers)}"
    kube.create("namespaces", None, {"metadata": {"name": name}})
    return name


@pytest.fixture(scope="session")
def shared_operator(
    control_plane: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """One process for all tests that leave it alone."""
    with OperatorProcess(control_plane.kubeconfig, tmp_path_factory.mktemp("operator")) as process:
        yield process


@pytest.fixture(scope="session")
def job_sets(control_plane: Cluster) -> None:
    """JobSet's controller."""
    jobset.start(control_plane)


@pytest.fixture
def operator(shared_operator: OperatorProcess) -> OperatorProcess:
    """The running operator; started anew where a test ended it."""
    if not shared_operator.running:
        shared_operator.start()
    return shared_operator


@pytest.fixture
def user(kube: Kube, namespace: str) -> User:
    """Somebody with FineTuneJobs in a namespace."""
    return User(kube, namespace)


@pytest.fixture
def optimizer(kube: Kube, namespace: str) -> User:
    """The same person, with OptimizeJobs."""
    return User(kube, namespace, OPTIMIZE_JOB)


@pytest.fixture
def bundler(kube: Kube, namespace: str) -> User:
    """The same person, with AdapterBundles."""
    return User(kube, namespace, ADAPTER_BUNDLE)


@pytest.fixture
def kubelet(kube: Kube, namespace: str) -> Kubelet:
    """Moves that namespace's pods."""
    return Kubelet(kube, namespace)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scratch space."""
    return tmp_path
