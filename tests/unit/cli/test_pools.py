"""`luthier pools` on a real API server; the test plays the operator that keeps the ConfigMap."""

import json
import subprocess

import pytest
from unit.cli.command import luthier

from luthier_api.pools import CONFIG_MAP, KEY, PoolsPage, PoolView
from luthier_cluster import Cluster

PAGE = PoolsPage(
    pools=[
        PoolView(name="cpu", description="Small models on any node.", default=True, running=2),
        PoolView(
            name="gpu", description="H100s, for models of up to 8 billion parameters.",
            max_gpus=4, max_nodes=2, gpus=16, gpus_held=11, running=3, waiting=1, max_runs=8,
            queue="team-a", max_duration_seconds=86_400,
        ),
        PoolView(name="spot", max_gpus=1, gpus_held=3),
    ]
)  # fmt: skip


def said(cluster: Cluster, namespace: str, *arguments: str, **extra: str) -> str:
    done = call(cluster, namespace, *arguments, **extra)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def call(
    cluster: Cluster, namespace: str, *arguments: str, **extra: str
) -> subprocess.CompletedProcess[str]:
    return luthier("pools", "-n", namespace, *arguments, kubeconfig=cluster.kubeconfig, **extra)


def write(cluster: Cluster, namespace: str, text: str) -> None:
    metadata = {"name": CONFIG_MAP, "namespace": namespace}
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {KEY: text}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(obj))


@pytest.fixture
def told(control_plane: Cluster, namespace: str) -> str:
    """A namespace whose pools are told."""
    write(control_plane, namespace, json.dumps(PAGE.to_json()))
    return namespace


def test_a_line_for_each_pool(control_plane: Cluster, told: str) -> None:
    lines = [line.split() for line in said(control_plane, told).splitlines()]
    heading = "Pool GPUs free a run Running Waiting Queue At most For"
    assert lines[0] == heading.split()
    assert lines[1][:5] == ["cpu*", "–", "–", "2", "0"]
    assert lines[2][:8] == ["gpu", "5/16", "4×2", "3/8", "1", "team-a", "1d", "00h"]
    # Of how many nobody says.
    assert lines[3][:4] == ["spot", "3", "in", "use"]


def test_the_table_fits_eighty_columns(control_plane: Cluster, told: str) -> None:
    text = said(control_plane, told, COLUMNS="80")
    assert max(map(len, text.splitlines())) <= 80
    assert "parameters." in text


def test_a_document_for_programs(control_plane: Cluster, told: str) -> None:
    found = json.loads(said(control_plane, told, "-o", "json"))
    assert [it.get("gpusFree") for it in found] == [None, 5, None]
    assert found[1]["maxDurationSeconds"] == 86_400


def test_a_namespace_that_is_not_served(control_plane: Cluster, namespace: str) -> None:
    done = call(control_plane, namespace)
    assert done.returncode == 2
    assert f"there is no ConfigMap luthier-pools in the namespace {namespace}" in done.stderr


def test_what_somebody_else_wrote_there(control_plane: Cluster, namespace: str) -> None:
    write(control_plane, namespace, "{")
    done = call(control_plane, namespace)
    assert done.returncode == 2
    assert "delete it: the operator writes it anew" in done.stderr
    assert "Traceback" not in done.stderr
