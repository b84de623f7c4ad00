"""Which of the processes that train one model together this one is. Without torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from luthier_api.runspec import MASTER_PORT, AnyOrder, RunSpec

# Which of an Indexed Job's pods it is, as Kubernetes says
# (https://kubernetes.io/docs/tasks/job/indexed-parallel-processing-static/).
INDEX = "JOB_COMPLETION_INDEX"
# Set by launch.py for the processes of a pod.
LOCAL_RANK, MASTER = "LUTHIER_LOCAL_RANK", "LUTHIER_MASTER"


@dataclass(frozen=True)
class Place:
    """`rank` of `size` processes; `master`: host and port where they meet."""

    rank: int
    size: int
    master: str

    @property
    def is_first(self) -> bool:
        """Whether it is the one that claims, reports, saves and publishes."""
        return self.rank == 0


def processes(order: AnyOrder) -> int:
    """Those of a pod that train together: one for each GPU."""
    return max(order.gpus, 1) if _together(order) else 1


def place_of(order: AnyOrder, environment: Mapping[str, str] = os.environ) -> Place:
    """Of this process."""
    if not _together(order):
        return Place(0, 1, "")
    each = processes(order)
    node = int(environment.get(INDEX, "0")) if order.nodes > 1 else 0
    local = int(environment.get(LOCAL_RANK, "0"))
    master = environment.get(MASTER) or f"{order.master or '127.0.0.1'}:{MASTER_PORT}"
    return Place(node * each + local, order.nodes * each, master)


def _together(order: AnyOrder) -> bool:
    """The trials of a search share nothing but storage, and other runs are one process each."""
    return isinstance(order, RunSpec) and order.fine_tuning.search is None
