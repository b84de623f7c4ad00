"""The FineTuneJob, what it goes on from, and what is around it, as models."""

from dataclasses import replace

from luthier_api import reasons, schedule
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.schedule import ScheduleError
from luthier_operator.errors import Refusal
from luthier_operator.resources import FINE_TUNE_JOBS, Obj
from luthier_operator.run import model
from luthier_operator.run.model import Around
from luthier_operator.run.observe import assemble, is_building, parse_spec, parse_status
from luthier_operator.run.sources import Awaited, Source, held, source_of_job

# `sources` is None where the training goes on from no other FineTuneJob's result.
Observed = model.Observed[FineTuneJobSpec, FineTuneJobStatus, Source | None]


def observe(obj: Obj, around: Around) -> Observed:
    """Parse everything at the border."""
    spec, invalid = parse_spec(FineTuneJobSpec, obj)
    previous = parse_status(FineTuneJobStatus, obj)
    wrong = _wrong_schedule(spec)
    if wrong:
        spec, invalid = None, wrong
    observed: Observed = assemble(
        FINE_TUNE_JOBS,
        obj,
        around,
        spec=spec,
        invalid=invalid,
        previous=previous,
        sources=_source(spec, obj, previous, around) if spec else None,
    )
    if wrong:
        return replace(observed, invalid_reason=reasons.INVALID_SCHEDULE)
    if observed.sources is not None and is_building(observed):
        return replace(observed, sources=held(observed.sources, previous.source))
    return observed


def _wrong_schedule(spec: FineTuneJobSpec | None) -> str:
    """What no rule of the schema can tell: 30 February, a zone that the tz database lacks."""
    if spec is None or spec.retrain is None or spec.retrain.schedule is None:
        return ""
    try:
        schedule.check(spec.retrain.schedule, spec.retrain.time_zone)
    except ScheduleError as error:
        return f"spec.retrain.{error.field}: {error}"
    return ""


def _source(
    spec: FineTuneJobSpec, obj: Obj, previous: FineTuneJobStatus, around: Around
) -> Source | None:
    adapter = spec.model.adapter
    if adapter is None or adapter.fine_tune_job_ref is None:
        return None
    namespace, own = obj["metadata"]["namespace"], obj["metadata"]["name"]
    name = adapter.fine_tune_job_ref.name
    if name == own:
        message = (
            "spec.model.adapter.fineTuneJobRef names this FineTuneJob itself: name another, or "
            "remove it."
        )
        return Awaited(Refusal(reasons.SOURCE_IS_ITSELF, message, terminal=True), name)
    return source_of_job(namespace, name, around.look_up(name), previous.source)
