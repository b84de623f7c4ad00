"""Observed → Plan: the source first, then as for every run. Pure."""

from luthier_api.optimizejob import SourceRef
from luthier_api.revision import optimize_hash
from luthier_operator.optimizejob.build import build, optimizing, reads
from luthier_operator.optimizejob.observe import Observed
from luthier_operator.run import policy
from luthier_operator.run.decide import Plan, follow, unreadable, wait
from luthier_operator.run.revision import wanted


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec, source = observed.spec, observed.sources
    if spec is None or source is None:
        return unreadable(observed)
    if source.taken is None:
        assert source.missing is not None
        return wait(observed, source.missing)

    before, owner, platform = observed.previous.source, observed.owner, observed.platform
    taken = [source.taken]
    if spec.source.adapter_uri is not None:
        taken.append(SourceRef(uri=spec.source.adapter_uri))
    revision, token = wanted(
        observed,
        optimize_hash(optimizing(spec), taken, spec.output.uri),
        followed=before is not None and before != source.taken,
    )
    return follow(
        observed,
        revision,
        token,
        # What runs goes on without its FineTuneJob; a new run reads what that one names.
        check=lambda: (
            source.missing
            or policy.check(spec.placement, reads(spec, source), owner.namespace, platform)
        ),
        build=lambda: build(owner, spec, source, revision, platform),
    )
