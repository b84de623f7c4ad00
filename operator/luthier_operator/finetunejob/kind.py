"""What makes a FineTuneJob one, for the loop that moves every kind on."""

from typing import Any

from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.events import EVENTS
from luthier_operator.finetunejob.evidence import OVERFITTING
from luthier_operator.finetunejob.keeping import deletion, is_to_delete
from luthier_operator.finetunejob.observe import observe
from luthier_operator.finetunejob.status import compute
from luthier_operator.reports import counted
from luthier_operator.resources import FINE_TUNE_JOBS
from luthier_operator.run.departure import Artifacts
from luthier_operator.run.reconcile import Kind
from luthier_operator.run.sources import Source

# The messages of these name the last checkpoint, and the last losses.
_MOVING = ("CheckpointSaved", OVERFITTING)


def _essence(status: FineTuneJobStatus) -> tuple[Any, ...]:
    rest = status.model_dump(
        exclude={"progress", "usage", "checkpoints", "conditions", "estimate", "search"}
    )
    conditions = [
        (it.type, it.status, it.reason, "" if it.type in _MOVING else it.message)
        for it in status.conditions
    ]
    # The peak of memory, beside its estimate, rises as the run goes on.
    return (
        rest,
        conditions,
        bool(status.checkpoints),
        status.estimate is not None,
        counted(status.search),
    )


FINE_TUNE_JOB: Kind[FineTuneJobSpec, FineTuneJobStatus, Source | None] = Kind(
    resource=FINE_TUNE_JOBS,
    observe=observe,
    decide=decide,
    compute=compute,
    essence=_essence,
    events=EVENTS,
    artifacts=Artifacts(wanted=is_to_delete, errand=deletion),
)
