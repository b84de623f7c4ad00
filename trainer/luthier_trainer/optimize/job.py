"""What an optimisation is given: the same for every stage."""

from dataclasses import dataclass
from pathlib import Path

from luthier_api.optimizejob import Optimizing
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.optimize.state import State
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.progress import Pace, Reporter
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

    def begin(self, candidates: int) -> None:
        """Tell how many there are to try, beside the source."""
        self.state.pace = Pace(0, 1 + candidates)
        self.reporter.update(total_steps=1 + candidates)

    def advance(self) -> None:
        """Tell that the source, or a candidate more, is measured."""
        state, done = self.state, 1 + len(self.state.candidates)
        state.tell()
        self.reporter.update(step=done)
        self.reporter.set(eta_seconds=state.pace.eta_seconds(done))
        self.attempts.advance(self.cache.finished(), state.pod.usage())
        self.reporter.set(usage=self.attempts.usage)
