"""The OptimizeJob, its source, and what is around it, as models."""

from luthier_api.optimizejob import OptimizeJobSpec, OptimizeJobStatus, SourceRef
from luthier_operator.resources import OPTIMIZE_JOBS, Obj
from luthier_operator.run import model
from luthier_operator.run.followed import Followed, follow_job
from luthier_operator.run.model import Around
from luthier_operator.run.observe import observe as put_together
from luthier_operator.run.observe import parse_spec, parse_status

# `sources` is None where the spec can't be read.
Observed = model.Observed[OptimizeJobSpec, OptimizeJobStatus, Followed | None]


def observe(obj: Obj, around: Around) -> Observed:
    """Parse everything at the border."""
    spec, invalid = parse_spec(OptimizeJobSpec, obj)
    previous = parse_status(OptimizeJobStatus, obj)
    namespace = obj["metadata"]["namespace"]
    return put_together(
        OPTIMIZE_JOBS,
        obj,
        around,
        spec=spec,
        invalid=invalid,
        previous=previous,
        sources=_source(spec, namespace, previous, around) if spec else None,
    )


def _source(
    spec: OptimizeJobSpec, namespace: str, previous: OptimizeJobStatus, around: Around
) -> Followed:
    source = spec.source
    if source.fine_tune_job_ref is not None:
        name = source.fine_tune_job_ref.name
        return follow_job(namespace, name, around.look_up(name), previous.source)
    assert source.model_uri is not None
    return Followed(SourceRef(uri=source.model_uri, revision=source.revision))
