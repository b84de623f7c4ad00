"""The OptimizeJob, its source, and what is around it, as models."""

from dataclasses import replace

from luthier_api.optimizejob import OptimizeJobSpec, OptimizeJobStatus, SourceRef
from luthier_operator.resources import OPTIMIZE_JOBS, Obj
from luthier_operator.run import model
from luthier_operator.run.model import Around
from luthier_operator.run.observe import assemble, is_building, parse_spec, parse_status
from luthier_operator.run.sources import Source, Taken, held, source_of_job

# `sources` is None where the spec can't be read.
Observed = model.Observed[OptimizeJobSpec, OptimizeJobStatus, Source | None]


def observe(obj: Obj, around: Around) -> Observed:
    """Parse everything at the border."""
    spec, invalid = parse_spec(OptimizeJobSpec, obj)
    previous = parse_status(OptimizeJobStatus, obj)
    observed: Observed = assemble(
        OPTIMIZE_JOBS,
        obj,
        around,
        spec=spec,
        invalid=invalid,
        previous=previous,
        sources=_source(spec, obj, previous, around) if spec else None,
    )
    if observed.sources is not None and is_building(observed):
        return replace(observed, sources=held(observed.sources, previous.source))
    return observed


def _source(spec: OptimizeJobSpec, obj: Obj, previous: OptimizeJobStatus, around: Around) -> Source:
    source = spec.source
    if source.fine_tune_job_ref is not None:
        namespace, name = obj["metadata"]["namespace"], source.fine_tune_job_ref.name
        return source_of_job(namespace, name, around.look_up(name), previous.source)
    assert source.model_uri is not None
    return Taken(SourceRef(uri=source.model_uri, revision=source.revision))
