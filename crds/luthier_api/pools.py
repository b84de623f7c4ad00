"""The pools that a namespace may use, as the operator tells its users in a ConfigMap there."""

from luthier_api.meta import Model

CONFIG_MAP = "luthier-pools"
KEY = "pools.json"


class PoolView(Model):
    """A pool, and how full it is."""

    name: str
    description: str = ""
    default: bool = False
    max_gpus: int = 0
    max_nodes: int = 1
    gpus: int | None = None
    gpus_held: int = 0
    running: int = 0
    waiting: int = 0
    max_runs: int | None = None
    max_duration_seconds: int | None = None
    queue: str | None = None

    @property
    def gpus_free(self) -> int | None:
        """None where the platform doesn't say how many there are."""
        return None if self.gpus is None else max(0, self.gpus - self.gpus_held)


class PoolsPage(Model):
    """All that a namespace may use, in the order of luthier.yaml."""

    pools: list[PoolView] = []
