"""The FineTuneJob and what is around it, as models."""

from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_operator.resources import FINE_TUNE_JOBS, Obj
from luthier_operator.run import model
from luthier_operator.run.model import Around
from luthier_operator.run.observe import assemble, parse_spec, parse_status

Observed = model.Observed[FineTuneJobSpec, FineTuneJobStatus, None]


def observe(obj: Obj, around: Around) -> Observed:
    """Parse everything at the border."""
    spec, invalid = parse_spec(FineTuneJobSpec, obj)
    previous = parse_status(FineTuneJobStatus, obj)
    return assemble(
        FINE_TUNE_JOBS, obj, around, spec=spec, invalid=invalid, previous=previous, sources=None
    )
