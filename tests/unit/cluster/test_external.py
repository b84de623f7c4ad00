"""Another cluster, only when it is named outright."""

from pathlib import Path

import pytest

from luthier_cluster import Cluster, ClusterError
from luthier_cluster.external import ExternalCluster


def test_the_ambient_kubeconfig_is_never_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CLUSTER_KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path))
    assert Cluster.external() is None


def test_named_outright(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("{}")
    cluster = ExternalCluster.from_environment({"CLUSTER_KUBECONFIG": str(file)})
    assert cluster is not None
    assert cluster.kubeconfig == file
    assert cluster.is_external
    assert not Cluster("demo").is_external


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ClusterError, match="no such file"):
        ExternalCluster.from_environment({"CLUSTER_KUBECONFIG": "/no/such/file"})
