"""Observed → Plan: the adapters that are there first, then as for every run. Pure."""

from luthier_api import reasons
from luthier_api.revision import bundle_hash
from luthier_operator.adapterbundle.build import build, bundling, reads
from luthier_operator.adapterbundle.observe import Members, Observed, source_of
from luthier_operator.errors import Refusal
from luthier_operator.run import policy
from luthier_operator.run.build import made_of
from luthier_operator.run.decide import Plan, plan_run, unreadable, wait
from luthier_operator.run.revision import wanted
from luthier_operator.run.sources import Awaited, Taken

ADAPTERS_NOT_READY = reasons.ADAPTERS_NOT_READY


def decide(observed: Observed) -> Plan:
    """The plan for what was observed."""
    spec, members, previous = observed.spec, observed.sources, observed.previous
    if spec is None:
        return unreadable(observed)
    ready = {name: it.ref for name, it in members.items() if isinstance(it, Taken)}
    pending = awaited(members)
    if pending is not None and not ready:
        return wait(observed, pending)

    owner, platform = observed.owner, observed.platform
    before = {it.name: source_of(it) for it in previous.adapters if it.uri is not None}
    revision, token = wanted(
        observed,
        bundle_hash(bundling(spec), ready, spec.output.uri),
        followed=ready != before,
    )
    return plan_run(
        observed,
        revision,
        token,
        refuse=lambda: (
            (pending if spec.on_incompatible == "Fail" else None)
            or policy.check(spec, reads(spec, members), owner.namespace, platform)
        ),
        build=lambda: build(owner, spec, members, previous, revision, platform),
        settings=lambda: made_of(owner, spec, platform),
    )


def awaited(members: Members) -> Refusal | None:
    """The adapters without a result, and why; None where all have one."""
    missing = {name: it.why for name, it in members.items() if isinstance(it, Awaited)}
    if not missing:
        return None
    words = " ".join(f"{name}: {why.message}" for name, why in missing.items())
    return Refusal(
        ADAPTERS_NOT_READY,
        f"Without a result: {', '.join(missing)}. {words}",
        terminal=all(why.terminal for why in missing.values()),
    )
