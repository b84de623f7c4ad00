"""A run that optimises: the stages up to the import of torch, and what is told at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import Candidate, OptimizedArtifact
from luthier_api.result import OptimizeResult
from luthier_api.runspec import OptimizeOrder
from luthier_api.runstatus import ArtifactRef
from luthier_trainer.errors import TrainerError
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.packagecache import PackageCache, folder_beside
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.open import open_store


class Optimization:
    """The state of this pod's run. `execute` does it; `result` tells how far it came."""

    def __init__(self, order: OptimizeOrder) -> None:
        self.order = order
        self.pod = Pod(order)
        self.baseline: Candidate | None = None
        self.candidates: list[Candidate] = []

    def execute(self) -> OptimizeResult:
        """All stages. Raises TrainerError (GatesNotMet among others), Interrupted, Superseded."""
        with self.pod.scratch() as folder:
            return self._stages(folder)

    def result(self, outcome: str, failure: TrainerError | None = None) -> OptimizeResult:
        """What is known now, as the end of this pod."""
        return OptimizeResult(
            **self.pod.end(outcome, failure),
            baseline=self.baseline,
            candidates=self.candidates,
        )

    def tell(self) -> None:
        """The next report has what is known now."""
        self.pod.reporter.set(baseline=self.baseline, candidates=list(self.candidates))

    def _stages(self, folder: Path) -> OptimizeResult:
        order, pod = self.order, self.pod
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
        from luthier_trainer.optimize.stages import Stages

        return Stages(self, attempts, output, cache, fetched, folder).execute()


def artifact_of(manifest: Mapping[str, Any], reference: ArtifactRef) -> OptimizedArtifact:
    """A published package."""
    return OptimizedArtifact(
        uri=reference.uri,
        manifest_sha256=reference.manifest_sha256,
        precision=manifest["package"]["precision"],
        format=manifest["package"]["format"],
    )
