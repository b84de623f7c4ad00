"""Observed → Plan: what shapes the result, what is allowed, what is built. Pure."""

from dataclasses import replace

from luthier_api import sources
from luthier_api.revision import shape_hash
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.keeping import keep
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
    plan = plan_run(
        observed,
        revision,
        token,
        refuse=lambda: policy.check(spec, reads, owner.namespace, platform),
        build=lambda: build(owner, spec, revision, platform, observed.previous),
        settings=lambda: made_of(owner, spec, platform),
    )
    kept = keep(observed, revision)
    noted: dict[str, object] = {"kept": kept.status}
    if kept.history is not None and observed.previous.revision == revision.name:
        noted["history"] = kept.history
    return replace(
        plan,
        beside=kept.actions,
        again=min((it for it in (plan.again, kept.again) if it is not None), default=None),
        noted=noted,
    )
