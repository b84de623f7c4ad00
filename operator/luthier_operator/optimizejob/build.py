"""Spec and source → the order of a run that optimises, and the run's objects. Pure."""

from luthier_api import sources
from luthier_api.meta import part_of
from luthier_api.optimizejob import OptimizeJobSpec, Optimizing, SourceRef
from luthier_api.platform import Platform
from luthier_api.runspec import OptimizeOrder
from luthier_api.sources import Reads
from luthier_operator.resources import Obj
from luthier_operator.run.build import build_run, run_order
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.sources import Taken


def build(
    owner: Owner,
    spec: OptimizeJobSpec,
    source: Taken,
    revision: Revision,
    platform: Platform,
) -> list[Obj]:
    """The objects of a run in the order of their creation; the Job comes last."""
    return build_run(
        owner,
        spec,
        revision,
        platform,
        order=optimize_order(owner, spec, source, revision, platform),
        reads=reads(spec, source),
    )


def optimize_order(
    owner: Owner,
    spec: OptimizeJobSpec,
    source: Taken,
    revision: Revision,
    platform: Platform,
) -> OptimizeOrder:
    """The order for the trainer."""
    return OptimizeOrder(
        **dict(run_order(owner, spec, revision, platform)),
        optimizing=optimizing(spec),
        # A FineTuneJob's artifact has a revision and a digest; a model's folder has neither.
        source=source.ref if source.job else SourceRef(uri=source.ref.uri),
        source_revision=spec.source.revision,
        adapter_uri=spec.source.adapter_uri,
    )


def optimizing(spec: OptimizeJobSpec) -> Optimizing:
    """The part of the spec that shapes the result."""
    return part_of(spec, Optimizing)


def reads(spec: OptimizeJobSpec, source: Taken) -> Reads:
    """What the run reads beside S3."""
    return sources.of_optimizing(spec, source.job, source.spec)
