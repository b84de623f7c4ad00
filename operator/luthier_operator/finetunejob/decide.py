"""Observed → Plan: what it goes on from, what shapes the result, what is built. Pure."""

from dataclasses import replace

from luthier_api import reasons, sources
from luthier_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from luthier_api.optimizejob import SourceRef
from luthier_api.revision import shape_hash
from luthier_api.searchspace import problem
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob import retraining
from luthier_operator.finetunejob.build import Before, build
from luthier_operator.finetunejob.keeping import keep
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.finetunejob.retraining import Look
from luthier_operator.run import policy
from luthier_operator.run.build import made_of
from luthier_operator.run.decide import Plan, plan_run, unreadable, wait
from luthier_operator.run.memo import PARSED, Once
from luthier_operator.run.model import Revision
from luthier_operator.run.revision import is_anew, wanted
from luthier_operator.run.sources import Awaited, Taken
from luthier_operator.run.standing import reference
from luthier_operator.run.status import in_use_of

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

    def refuse() -> Refusal | None:
        return policy.check(spec, reads, owner.namespace, platform) or _invalid_search(spec)

    look = retraining.look(observed, revision, refuse)
    if look.opens is not None:
        revision = look.opens
    plan = plan_run(
        observed,
        revision,
        token,
        refuse=refuse,
        build=lambda: build(owner, spec, revision, platform, _before(observed, revision, look)),
        settings=lambda: made_of(owner, spec, platform),
    )
    kept = keep(observed, revision)
    noted: dict[str, object] = {"kept": kept.status, "retrain": look.status}
    if kept.history is not None and observed.previous.revision == revision.name:
        noted["history"] = kept.history
    times = (plan.again, kept.again, look.again)
    return replace(
        plan,
        beside=(*look.actions, *kept.actions),
        again=min((it for it in times if it is not None), default=None),
        noted=noted,
    )


def _before(observed: Observed, revision: Revision, look: Look) -> Before:
    """What earlier revisions mean to this one."""
    spec, previous = observed.spec, observed.previous
    assert spec is not None
    source = observed.sources
    start_from = retraining.started_from(look.status, revision)
    if start_from is None and isinstance(source, Taken):
        start_from = source.ref
    by_data = retraining.is_opened_by_data(spec.retrain, look.status, revision)
    return Before(
        incumbent=_incumbent(spec, previous),
        start_from=start_from,
        anew=is_anew(previous, revision) and not by_data,
        settings=retraining.settings_of(look.status, revision),
    )


def _incumbent(spec: FineTuneJobSpec, previous: FineTuneJobStatus) -> SourceRef | None:
    """What the result is to be compared with, where that decides."""
    in_use = in_use_of(previous)
    if spec.promote is None or spec.promote.when != "IfBetter" or in_use is None:
        return None
    return reference(in_use)


def _invalid_search(spec: FineTuneJobSpec) -> Refusal | None:
    """What no rule of the schema can tell of a search's space."""
    found = problem(spec)
    if found is None:
        return None
    field, message = found
    return Refusal(reasons.INVALID_SEARCH, f"spec.{field}: {message}.", terminal=True)
