"""Observed → Plan: what shapes the result, what is allowed, what is built. Pure."""

from luthier_api import reasons, sources
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.revision import shape_hash
from luthier_api.searchspace import problem
from luthier_operator.errors import Refusal
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
    return plan_run(
        observed,
        revision,
        token,
        refuse=lambda: (
            policy.check(spec, reads, owner.namespace, platform) or _invalid_search(spec)
        ),
        build=lambda: build(owner, spec, revision, platform),
        settings=lambda: made_of(owner, spec, platform),
    )


def _invalid_search(spec: FineTuneJobSpec) -> Refusal | None:
    """What no rule of the schema can tell of a search's space."""
    found = problem(spec)
    if found is None:
        return None
    field, message = found
    return Refusal(reasons.INVALID_SEARCH, f"spec.{field}: {message}.", terminal=True)
