"""Names, numbers, and paths that must stay short."""

from pathlib import Path

import pytest

from luthier_cluster.errors import ClusterError
from luthier_cluster.layout import Layout, check_name
from luthier_cluster.record import lowest_free

LONGEST = "a" * 32


@pytest.mark.parametrize("name", ["demo", "t-123-a", "7", LONGEST])
def test_names_that_can_be_a_node(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "Demo", "-a", "a-", "a_b", "a/b", "..", "a b", LONGEST + "a"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match="use 1 to 32 of a-z, 0-9"):
        check_name(name)


def test_sockets_and_links_fit_the_kernels_limits() -> None:
    layout = Layout(LONGEST, 254)
    assert len(f"{layout.containerd_socket}.ttrpc") <= 107
    assert len(layout.link) <= 15


def test_state_goes_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LUTHIER_STATE", str(tmp_path))
    assert Layout("demo", 1).kubeconfig.is_relative_to(tmp_path / "clusters" / "demo")


def test_clusters_share_nothing() -> None:
    a, b = Layout("a", 1), Layout("b", 2)
    for own in ("address", "gateway", "link", "netns", "cgroup", "state", "run"):
        assert getattr(a, own) != getattr(b, own)


def test_the_lowest_free_number() -> None:
    assert lowest_free([]) == 1
    assert lowest_free([1, 2, 4, 2]) == 3


def test_no_number_left() -> None:
    with pytest.raises(ClusterError, match="down --all"):
        lowest_free(range(1, 255))
