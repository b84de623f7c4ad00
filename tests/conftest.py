"""What tests of several folders share: a real control plane with the CRDs, up in seconds."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier_cluster import Cluster, ExternalCluster

ROOT = Path(__file__).parents[1]
CRDS = ROOT / "crds"


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster | ExternalCluster]:
    """An API server of its own (or the one that CLUSTER_KUBECONFIG names) that has our CRDs.

    Its `kubectl(*arguments, input=None, check=True)` runs kubectl against it.
    """
    if external := Cluster.external():
        external.up()
        apply_crds(external)
        yield external
        return
    with Cluster(f"test-{os.getpid()}", "control-plane") as cluster:
        apply_crds(cluster)
        yield cluster


def apply_crds(cluster: Cluster | ExternalCluster) -> None:
    """Apply them as a user would, and wait until they are served."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(CRDS), "--timeout=30s")
