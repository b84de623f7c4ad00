"""Observed → Plan: the adapters that are there first, then as for every run. Pure."""

from luthier_api.revision import bundle_hash
from luthier_operator.adapterbundle.build import build, bundling, reads
from luthier_operator.adapterbundle.observe import Members, Observed, source_of
from luthier_operator.errors import Refusal
from luthier_operator.run import policy
from luthier_operator.run.decide import Plan, follow, unreadable, wait
from luthier_operator.run.revision import wanted

ADAPTERS_NOT_READY = "AdaptersNotReady"


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec, members, previous = observed.spec, observed.sources, observed.previous
    if spec is None:
        return unreadable(observed)
    ready = {name: it.taken for name, it in members.items() if it.taken is not None}
    pending = awaited(members)
    if not ready:
        assert pending is not None
        return wait(observed, pending)

    owner, platform = observed.owner, observed.platform
    before = {it.name: source_of(it) for it in previous.adapters if it.uri is not None}
    revision, token = wanted(
        observed,
        bundle_hash(bundling(spec), ready, spec.output.uri),
        followed=ready != before,
    )
    return follow(
        observed,
        revision,
        token,
        check=lambda: (
            (pending if spec.on_incompatible == "Fail" else None)
            or policy.check(spec.placement, reads(spec, members), owner.namespace, platform)
        ),
        build=lambda: build(owner, spec, members, previous, revision, platform),
    )


def awaited(members: Members) -> Refusal | None:
    """The adapters without a result, and why; None where all have one."""
    missing = {name: it.awaited for name, it in members.items() if it.awaited is not None}
    if not missing:
        return None
    words = " ".join(f"{name}: {why.message}" for name, why in missing.items())
    return Refusal(
        ADAPTERS_NOT_READY,
        f"Without a result: {', '.join(missing)}. {words}",
        terminal=all(why.terminal for why in missing.values()),
    )
