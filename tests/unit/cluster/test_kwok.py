"""Simulated nodes, and what kwok is told to do with them and their pods."""

from typing import Any

import pytest
import yaml

from luthier_cluster import kwok
from luthier_cluster.layout import Layout

LAYOUT = Layout("demo", 7)


def documents(seconds: float | None) -> dict[str, Any]:
    """By name."""
    text = kwok.configuration(LAYOUT, seconds)
    return {it["metadata"]["name"]: it for it in yaml.safe_load_all(text)}


def conditions(stage: Any) -> list[str]:
    return [it["key"] for it in stage["spec"]["selector"]["matchExpressions"]]


def test_a_node_has_its_gpus_and_keeps_strangers_away() -> None:
    node = kwok.node(3, gpus=8)
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    [taint] = node["spec"]["taints"]
    assert (taint["key"], taint["effect"]) == (
        kwok.TOLERATION["key"],
        kwok.TOLERATION["effect"],
    )
    assert kwok.SIMULATED in node["metadata"]["labels"]


def test_kwok_manages_simulated_nodes_alone_and_listens_in_its_cluster() -> None:
    options = documents(1.0)["kwok"]["options"]
    assert options["manageNodesWithLabelSelector"] == kwok.SIMULATED
    assert options["serverAddress"].startswith(f"{LAYOUT.address}:")


@pytest.mark.parametrize(("seconds", "milliseconds"), [(1.0, 1000), (0.25, 250)])
def test_pods_end_by_themselves_after_their_time(seconds: float, milliseconds: int) -> None:
    ends = documents(seconds)["pod-ends"]
    assert ends["spec"]["delay"] == {"durationMilliseconds": milliseconds}
    assert not any(kwok.END in key for key in conditions(ends))


def test_pods_without_a_time_end_when_they_are_told() -> None:
    ends = documents(None)["pod-ends"]
    assert "delay" not in ends["spec"]
    assert any(kwok.END in key for key in conditions(ends))


def test_only_pods_of_jobs_end() -> None:
    assert ".metadata.ownerReferences.[].kind" in conditions(documents(1.0)["pod-ends"])
