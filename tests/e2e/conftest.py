"""A full node with the chart installed, as `make demo` makes it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusters
import pytest
from e2e import golden, node

from luthier_cluster import Cluster
from luthier_demo import content

HERE = Path(__file__).parent


# Those whose pods take longest come first, and the one that waits for the longest run last.
ORDER = [
    "test_packages",
    "test_storage_faults",
    "test_operator_faults",
    "test_methods",
    "test_kueue",
    "test_retraining",
    "test_package_faults",
    "test_interruptions",
    "test_nodes",
    "test_search",
    "test_package_refusals",
    "test_cluster_traces",
    "test_chart",
    "test_bad_data",
    "test_cluster",
    "test_golden_path",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first test brings up the node; all of them wait for real pods. What a module's tests
    share is pods that train: with `--dist loadfile` one worker has them all."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.timeout(1800))
    if not config.pluginmanager.hasplugin("randomly"):
        others = [item for item in items if HERE not in item.path.parents]
        ranks = {stem: rank for rank, stem in enumerate(ORDER)}
        items[:] = others + sorted(ours, key=lambda item: ranks.get(item.path.stem, -1))


@pytest.fixture(scope="session")
def luthier(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A full node with models and data in S3, the chart installed and the operator ready.

    All workers share it. A running demo is left alone. LUTHIER_TEST_CLUSTER names one to reuse
    and keep, which spares a developer half a minute.
    """
    kept = os.environ.get("LUTHIER_TEST_CLUSTER")
    cluster = Cluster(kept or clusters.common("e2e"))

    def prepare() -> None:
        cluster.up()
        content.put_in_s3(cluster)
        node.set_up(cluster)
        # The longest run by far: it trains while others' tests wait for their pods.
        if any(item.path.name == golden.TESTS for item in request.session.items):
            golden.apply(cluster)

    def remove() -> None:
        if not kept:
            cluster.down()

    folder = clusters.folder_of_run(tmp_path_factory) / "e2e"
    with clusters.shared(folder, prepare, remove):
        yield cluster


@pytest.fixture(scope="session")
def s3(luthier: Cluster) -> Any:
    """A client for the cluster's S3, which holds the models `smollm2…` and `tiny` and the data."""
    return content.s3_client(luthier)
