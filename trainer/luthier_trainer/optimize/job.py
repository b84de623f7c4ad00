"""What an optimisation is given: the same for every stage."""

from dataclasses import dataclass
from pathlib import Path

from luthier_api.optimizejob import Optimizing
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.optimize.state import State
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.storage.objectstore import ObjectStore


@dataclass(frozen=True)
class Job:
    """`output`: where the result goes. `fetched`: the source. `folder`: scratch space."""

    state: State
    attempts: Attempts
    output: ObjectStore
    cache: PackageCache
    fetched: Fetched
    folder: Path

    @property
    def order(self) -> OptimizeOrder:
        return self.state.order

    @property
    def wanted(self) -> Optimizing:
        return self.state.order.optimizing

    @property
    def reporter(self) -> Reporter:
        return self.state.pod.reporter

    @property
    def artifact(self) -> Path:
        """The folder of what will be published."""
        return self.folder / "artifact"

    def advance(self) -> None:
        """Tell that the source, or a candidate more, is measured."""
        state = self.state
        state.tell()
        self.reporter.update(step=1 + len(state.candidates))
        self.attempts.advance(self.cache.finished(), state.pod.usage())
        self.reporter.set(usage=self.attempts.usage)
