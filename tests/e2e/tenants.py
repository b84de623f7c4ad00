"""Namespaces of tenants for tests, which see nothing of each other's."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from luthier_cluster import Cluster
from luthier_demo import tenant


@contextmanager
def namespace_for(cluster: Cluster, words: str) -> Iterator[str]:
    """A restricted namespace, gone (with its pods) afterwards.

    Its name's end is random: results of an earlier test run in a kept cluster would be found, and
    reused.
    """
    name = f"{words}-{uuid.uuid4().hex[:6]}"
    tenant.create(cluster, name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
        cluster.kubectl("delete", "pv", f"host-files-{name}", "--wait=false", check=False)
