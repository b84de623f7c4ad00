"""The FineTuneJob and what is around it, as models."""

from dataclasses import replace

from luthier_api import reasons, schedule
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.schedule import ScheduleError
from luthier_operator.resources import FINE_TUNE_JOBS, Obj
from luthier_operator.run import model
from luthier_operator.run.model import Around
from luthier_operator.run.observe import assemble, parse_spec, parse_status

Observed = model.Observed[FineTuneJobSpec, FineTuneJobStatus, None]


def observe(obj: Obj, around: Around) -> Observed:
    """Parse everything at the border."""
    spec, invalid = parse_spec(FineTuneJobSpec, obj)
    previous = parse_status(FineTuneJobStatus, obj)
    why = _wrong_schedule(spec)
    found = assemble(
        FINE_TUNE_JOBS,
        obj,
        around,
        spec=None if why else spec,
        invalid=why or invalid,
        previous=previous,
        sources=None,
    )
    return replace(found, invalid_reason=reasons.INVALID_SCHEDULE) if why else found


def _wrong_schedule(spec: FineTuneJobSpec | None) -> str:
    """What no rule of the schema can tell: 30 February, a zone that the tz database lacks."""
    if spec is None or spec.retrain is None or spec.retrain.schedule is None:
        return ""
    try:
        schedule.check(spec.retrain.schedule, spec.retrain.time_zone)
    except ScheduleError as error:
        return f"spec.retrain.{error.field}: {error}"
    return ""
