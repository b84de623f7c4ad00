"""A run that builds a bundle, in one pod: from the order to the result."""

import hashlib
import json
from pathlib import Path

from luthier_api.result import BundleResult
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.bundle import bundle
from luthier_trainer.bundle.contents import Contents
from luthier_trainer.bundle.index import base_key
from luthier_trainer.bundle.job import Job
from luthier_trainer.bundle.members import require_access
from luthier_trainer.bundle.previous import read_previous
from luthier_trainer.bundle.state import State
from luthier_trainer.bundle.target import require_target
from luthier_trainer.errors import TrainerError
from luthier_trainer.models import cache
from luthier_trainer.packages.genai.base import read_base
from luthier_trainer.pod import publish
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.open import open_store


class BundleRun:
    """See main.AnyRun."""

    def __init__(self, order: BundleOrder) -> None:
        self.pod = Pod(order)
        self.state = State(order, self.pod)

    def execute(self) -> BundleResult:
        """All of it. Raises TrainerError, Interrupted or Superseded."""
        with self.pod.scratch() as folder:
            return _execute(self.state, folder)

    def result(self, outcome: str, failure: TrainerError | None = None) -> BundleResult:
        """What is known now, as the end of this pod."""
        return self.state.result(outcome, failure)


def _execute(state: State, scratch: Path) -> BundleResult:
    order, pod = state.order, state.pod
    pod.reporter.stage("Preflight")
    require_target(order.bundling)
    output = open_store(order.output, order.storage, "output.uri")
    if found := finished(output, order):
        return pod.again(BundleResult, *found)
    wanted = order.bundling.base
    model = cache.find_model(wanted.uri, wanted.revision, order, "base.uri")
    if found := finished(output, order, _digest(order)):
        require_access(order)
        return pod.again(BundleResult, *found)
    attempts = pod.claim(output, _digest(order))
    pod.begin(0)

    pod.reporter.stage("Loading")
    source = cache.local_folder(model, order)
    int4 = order.bundling.int4 if order.bundling.precision == "int4" else None
    base = read_base(source, wanted.uri, cache.digest(source, model), int4)
    versions = publish.versions(onnx=True)
    job = Job(
        state=state,
        attempts=attempts,
        output=output,
        found=model,
        source=source,
        base=base,
        key=base_key(base.digest, order.bundling, versions),
        versions=versions,
        previous=read_previous(order.previous, order),
        contents=Contents(scratch / "package"),
        scratch=scratch,
    )
    return bundle(job)


def _digest(order: BundleOrder) -> str:
    """Of where the parts come from; what they are is told by the index."""
    sources = [order.bundling.base.to_json(), *(it.to_json() for it in order.adapters)]
    return "sha256:" + hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
