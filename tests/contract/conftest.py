"""What the contract tests share."""

import uuid
from collections.abc import Iterator

import pytest

from luthier_cluster import Cluster


@pytest.fixture(scope="module")
def namespace(control_plane: Cluster) -> Iterator[str]:
    """A namespace for the tests of a module that store something."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
