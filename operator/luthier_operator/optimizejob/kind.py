"""What makes an OptimizeJob one, for the loop that moves every kind on."""

from typing import Any

from luthier_api.optimizejob import OptimizeJobSpec, OptimizeJobStatus
from luthier_operator.optimizejob.decide import decide
from luthier_operator.optimizejob.observe import observe
from luthier_operator.optimizejob.status import compute
from luthier_operator.resources import OPTIMIZE_JOBS
from luthier_operator.run.reconcile import Kind
from luthier_operator.run.sources import Source


def _essence(status: OptimizeJobStatus) -> tuple[Any, ...]:
    rest = status.model_dump(exclude={"stage", "progress", "usage", "baseline", "candidates"})
    return rest, [(it.precision, it.verdict) for it in status.candidates]


OPTIMIZE_JOB: Kind[OptimizeJobSpec, OptimizeJobStatus, Source | None] = Kind(
    resource=OPTIMIZE_JOBS,
    observe=observe,
    decide=decide,
    compute=compute,
    essence=_essence,
)
