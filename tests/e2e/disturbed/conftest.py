"""Another node, for modules that stop or kill what others need."""

from collections.abc import Iterator
from typing import Any

import clusters
import pytest
from e2e import node

from luthier_cluster import Cluster
from luthier_demo import content


@pytest.fixture(scope="module")
def luthier() -> Iterator[Cluster]:
    """As for the others, without the large model."""
    with Cluster(clusters.own("disturbed"), "full") as cluster:
        content.put_data_in_s3(cluster)
        node.set_up(cluster)
        yield cluster


@pytest.fixture(scope="module")
def s3(luthier: Cluster) -> Any:
    return content.s3_client(luthier)
