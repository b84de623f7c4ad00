"""Observed → Plan: what it goes on from, what shapes the result, what is built. Pure."""

from luthier_api import sources
from luthier_api.revision import shape_hash
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.run import policy
from luthier_operator.run.build import made_of
from luthier_operator.run.decide import Plan, plan_run, unreadable, wait
from luthier_operator.run.memo import PARSED, Once
from luthier_operator.run.revision import wanted
from luthier_operator.run.sources import Awaited

_SHAPES: Once[str] = Once(PARSED)


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec, owner, platform = observed.spec, observed.owner, observed.platform
    if spec is None:
        return unreadable(observed)
    source = observed.sources
    if isinstance(source, Awaited):
        return wait(observed, source.why)
    if source is None:
        shape = _SHAPES.of(spec, make=lambda: shape_hash(spec, spec.output.uri))
    else:
        shape = shape_hash(spec, spec.output.uri, source.ref)
    before = observed.previous.source
    followed = source is not None and before is not None and before != source.ref
    revision, token = wanted(observed, shape, followed=followed)
    reads = sources.of_fine_tuning(spec)
    return plan_run(
        observed,
        revision,
        token,
        refuse=lambda: policy.check(spec, reads, owner.namespace, platform),
        build=lambda: build(owner, spec, revision, platform, source.ref if source else None),
        settings=lambda: made_of(owner, spec, platform),
    )
