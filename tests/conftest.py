"""What tests of several folders share: a real control plane with the CRDs, up in seconds; which
cells of matrices are run."""

from collections import defaultdict
from collections.abc import Iterator

import clusters
import imported
import interrupted
import pytest
from matrices import MATRICES, repeated

from luthier_cluster import Cluster, ExternalCluster


def pytest_configure(config: pytest.Config) -> None:
    clusters.pytest_configure(config)
    interrupted.pytest_configure(config)
    config.pluginmanager.register(imported.Kept())


def pytest_unconfigure(config: pytest.Config) -> None:
    clusters.pytest_unconfigure(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cells of matrices that `make test` can do without."""
    cells: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        name = item.nodeid.partition("[")[0]
        if name in MATRICES and isinstance(item, pytest.Function):
            cells[name].append(item)
    for name, found in cells.items():
        parameters = [item.callspec.params for item in found]
        for item, again in zip(found, repeated(MATRICES[name], parameters), strict=True):
            if again:
                item.add_marker("matrix")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster | ExternalCluster]:
    """An API server of its own (or the one that CLUSTER_KUBECONFIG names) that has our CRDs.

    Its `kubectl(*arguments, input=None, check=True)` runs kubectl against it.
    """
    if external := Cluster.external():
        external.up()
        clusters.apply_crds(external)
        yield external
        return
    with Cluster(clusters.own("test"), "control-plane") as cluster:
        clusters.apply_crds(cluster)
        yield cluster
