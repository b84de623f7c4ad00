"""FineTuneJobs whose runs are measured beside what is in use."""

import json
from typing import Any

from unit.operator.builders import ended, observed, pod_of, resource, result, stored

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.revision import revision_name
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.run.model import Revision

BETTER = {"by": 0.1, "low": 0.02, "high": 0.18}
UNSURE = {"by": 0.1, "low": -0.02, "high": 0.22}
METRICS = {"metrics": ["loss", "accuracy"]}


class Life:
    """A FineTuneJob over its edits and runs. `fields`: of its spec."""

    def __init__(self, **fields: Any) -> None:
        self.fields = {"evaluation": METRICS, **fields}
        self.generation = 1
        self.annotations: dict[str, str] = {}
        self.status = FineTuneJobStatus()

    @property
    def obj(self) -> dict[str, Any]:
        obj = resource(generation=self.generation, status=json.loads(self._stored()), **self.fields)
        obj["metadata"]["annotations"] = self.annotations
        return obj

    def edit(self, **fields: Any) -> FineTuneJobStatus:
        """Change the spec, and have it looked at."""
        self.fields |= fields
        self.generation += 1
        return self.look()

    def look(self, **around: Any) -> FineTuneJobStatus:
        """One reconciliation."""
        seen = observed(self.obj, **around)
        self.status = compute(seen, decide(seen))
        return self.status

    def revision(self) -> Revision:
        """What is wanted now."""
        plan = decide(observed(self.obj))
        assert plan.revision is not None
        return plan.revision

    def run(
        self, accuracy: float = 0.9, gain: dict[str, Any] | None = None, **fields: Any
    ) -> FineTuneJobStatus:
        """Its run to a good end; `gain`: over what is in use, which it is measured beside."""
        revision = self.revision()
        before = self.status.in_use
        evaluation: dict[str, Any] = {"examples": 200, "tuned": {"accuracy": accuracy, "loss": 1}}
        if gain is not None and before is not None:
            evaluation |= {"comparedWith": before.revision, "inUse": {"accuracy": 0.8}}
            evaluation |= {"gain": {"accuracy": gain}}
        told = result(
            revision, **({"artifact": artifact(revision), "evaluation": evaluation} | fields)
        )
        built = decide(observed(self.obj)).created[-1]
        job = stored(built, revision, end="Complete")
        pod = pod_of(job, phase="Succeeded", state=ended(0, told))
        return self.look(jobs=[job], pods=[pod])

    def train(self, steps: int, accuracy: float = 0.9, **kwargs: Any) -> FineTuneJobStatus:
        """Another shape, and its run."""
        self.edit(training={"maxSteps": steps})
        return self.run(accuracy, **kwargs)

    def in_use(self) -> str | None:
        return self.status.in_use.revision if self.status.in_use else None

    def _stored(self) -> str:
        return json.dumps(self.status.to_json())


def artifact(revision: Revision) -> dict[str, str]:
    uri = f"s3://artifacts/models/team/tone/{revision.name}"
    return {"uri": uri, "manifestSha256": f"{revision.name:0<64}"[:64]}


def renumbered(revision: Revision, number: int) -> Revision:
    """The same shape under another number."""
    return Revision(revision_name(number, revision.shape_hash), 1, revision.shape_hash)
