"""Observed → Plan: what shapes the result, what is allowed, what is built. Pure."""

from dataclasses import replace

from luthier_api import sources
from luthier_api.revision import shape_hash
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob import retraining
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.run import policy
from luthier_operator.run.build import made_of
from luthier_operator.run.decide import Plan, plan_run, unreadable
from luthier_operator.run.memo import PARSED, Once
from luthier_operator.run.revision import wanted

_SHAPES: Once[str] = Once(PARSED)


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec, owner, platform = observed.spec, observed.owner, observed.platform
    if spec is None:
        return unreadable(observed)
    shape = _SHAPES.of(spec, make=lambda: shape_hash(spec, spec.output.uri))
    revision, token = wanted(observed, shape)
    reads = sources.of_fine_tuning(spec)

    def refuse() -> Refusal | None:
        return policy.check(spec, reads, owner.namespace, platform)

    look = retraining.look(observed, revision, refuse)
    if look.opens is not None:
        revision = look.opens
    start_from = retraining.started_from(look.status, revision)
    plan = plan_run(
        observed,
        revision,
        token,
        refuse=refuse,
        build=lambda: build(owner, spec, revision, platform, start_from),
        settings=lambda: made_of(owner, spec, platform),
    )
    return replace(
        plan,
        beside=look.actions,
        again=min((it for it in (plan.again, look.again) if it is not None), default=None),
        noted={"retrain": look.status},
    )
