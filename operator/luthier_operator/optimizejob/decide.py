"""Observed → Plan: the source first, then as for every run. Pure."""

from luthier_api.optimizejob import SourceRef
from luthier_api.revision import optimize_hash
from luthier_operator.optimizejob.build import build, optimizing, reads
from luthier_operator.optimizejob.observe import Observed
from luthier_operator.run import policy
from luthier_operator.run.build import made_of
from luthier_operator.run.decide import Plan, plan_run, unreadable, wait
from luthier_operator.run.revision import wanted
from luthier_operator.run.sources import Awaited


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec, source = observed.spec, observed.sources
    if spec is None or source is None:
        return unreadable(observed)
    if isinstance(source, Awaited):
        return wait(observed, source.why)

    before, owner, platform = observed.previous.source, observed.owner, observed.platform
    taken = [source.ref]
    if spec.source.adapter_uri is not None:
        taken.append(SourceRef(uri=spec.source.adapter_uri))
    revision, token = wanted(
        observed,
        optimize_hash(optimizing(spec), taken, spec.output.uri),
        followed=before is not None and before != source.ref,
    )
    return plan_run(
        observed,
        revision,
        token,
        # What runs goes on without its FineTuneJob; a new run reads what that one names.
        refuse=lambda: (
            (source.outdated if source.kept else None)
            or policy.check(spec, reads(spec, source), owner.namespace, platform)
        ),
        build=lambda: build(owner, spec, source, revision, platform),
        settings=lambda: made_of(owner, spec, platform),
    )
