"""A run that optimises, in one pod: from the order to the result, up to the import of torch."""

from pathlib import Path

from luthier_api.result import OptimizeResult
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.errors import TrainerError
from luthier_trainer.optimize.artifact import artifact_of
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.packagecache import PackageCache, folder_beside
from luthier_trainer.optimize.state import State
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.open import open_store


class Optimization:
    """See main.AnyRun."""

    def __init__(self, order: OptimizeOrder) -> None:
        self.pod = Pod(order)
        self.state = State(order, self.pod)

    def execute(self) -> OptimizeResult:
        """All of it. Raises TrainerError (GatesNotMet among others), Interrupted, Superseded."""
        with self.pod.scratch() as folder:
            return _execute(self.state, folder)

    def result(self, outcome: str, failure: TrainerError | None = None) -> OptimizeResult:
        """What is known now, as the end of this pod."""
        return self.state.result(outcome, failure)


def _execute(state: State, folder: Path) -> OptimizeResult:
    order, pod = state.order, state.pod
    pod.reporter.stage("Preflight")
    output = open_store(order.output, order.storage, "output.uri")
    if found := finished(output, order):
        return pod.again(OptimizeResult, found[0], artifact_of(*found))
    fetched = fetch(order, folder / "fetched")
    if found := finished(output, order, fetched.digest):
        return pod.again(OptimizeResult, found[0], artifact_of(*found))
    attempts = pod.claim(output, fetched.digest)
    store = open_store(folder_beside(order.output), order.storage, "output.uri")
    cache = PackageCache(store, order.run.uid)
    pod.begin(cache.finished())
    # Only now: the import of torch and transformers takes seconds.
    from luthier_trainer.optimize.job import Job
    from luthier_trainer.optimize.optimize import optimize

    return optimize(Job(state, attempts, output, cache, fetched, folder))
