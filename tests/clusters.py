"""Clusters of a test run: called after it, shared by its processes, and gone at its end."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from luthier_cluster import Cluster, ExternalCluster, record
from luthier_cluster.errors import ClusterError
from luthier_cluster.locks import locked

RUN = "LUTHIER_TEST_RUN"
CRDS = Path(__file__).parents[1] / "crds"


def pytest_configure(config: pytest.Config) -> None:
    """A run is called after its first process; workers have the name from there."""
    if not hasattr(config, "workerinput"):
        os.environ[RUN] = str(os.getpid())


def pytest_unconfigure(config: pytest.Config) -> None:
    """What a worker left that was killed before it could clean up itself."""
    if not hasattr(config, "workerinput"):
        for name in of_run(os.environ[RUN], record.names()):
            with suppress(ClusterError):
                Cluster(name).down()


def of_run(run: str, names: list[str]) -> list[str]:
    """Those of these clusters that belong to a run. Pure."""
    return [name for name in names if run in name.split("-")[1:2]]


def own(what: str) -> str:
    """A name for a cluster of this process alone."""
    return f"{what}-{os.environ[RUN]}-{os.getpid()}"


def common(what: str) -> str:
    """A name for a cluster of all processes of the run."""
    return f"{what}-{os.environ[RUN]}"


def apply_crds(cluster: Cluster | ExternalCluster) -> None:
    """Apply them as a user would, and wait until they are served."""
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(CRDS), "--timeout=30s")


def folder_of_run(factory: pytest.TempPathFactory) -> Path:
    """One for all processes of the run."""
    mine = factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@contextmanager
def shared(folder: Path, prepare: Callable[[], None], remove: Callable[[], None]) -> Iterator[None]:
    """Prepared by the first process that comes here, removed by the last that leaves.

    Those that use it hold a common lock, which the kernel takes from whoever is killed: the one
    that can have it for itself is the last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / "prepared"
    with (folder / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            with locked(folder / "preparing", within=1200):
                if not prepared.exists():
                    prepare()
                    prepared.touch()
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                prepared.unlink(missing_ok=True)
                remove()
