"""Observed and Plan → Status. Pure; computed anew every time.

Read back from the status so far are only the times of transitions, the end of an attempt
(its children may be gone), the package in use, and what was told of its adapters.
"""

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.result import BundleResult
from luthier_api.runstatus import RevisionRecord
from luthier_operator.adapterbundle.decide import ADAPTERS_NOT_READY
from luthier_operator.adapterbundle.evidence import Evidence, gather
from luthier_operator.adapterbundle.members import (
    ADAPTERS_COMPATIBLE,
    ADAPTERS_READY,
    add_conditions,
    bundled,
)
from luthier_operator.adapterbundle.observe import Observed
from luthier_operator.conditions import Conditions, is_true
from luthier_operator.errors import Refusal
from luthier_operator.run import lifecycle
from luthier_operator.run.decide import Plan
from luthier_operator.run.words import Words

WORDS = Words(
    memory="choose a pool with more memory (placement.pool)",
    deadline="starts again",
    suspending="ends",
    found_again="without building it again",
)
_OWN = (ADAPTERS_READY, ADAPTERS_COMPATIBLE)
_ORDER = (*lifecycle.SHARED, ADAPTERS_READY, "Running", ADAPTERS_COMPATIBLE)


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> AdapterBundleStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    previous, members = observed.previous, observed.sources
    conditions = Conditions(previous.conditions, observed.generation, observed.now)
    if observed.spec is None:
        changes = lifecycle.unreadable(observed, plan, conditions)
    elif plan.ended:
        changes = lifecycle.on_record(observed, plan, conditions, anew=_OWN)
        changes["adapters"] = bundled(members, previous, {}, published=False)
        add_conditions(conditions, members, changes["adapters"])
    else:
        moment = lifecycle.begin(observed, plan, refused)
        evidence = Evidence()
        if plan.revision is not None:
            evidence = gather(previous, plan.revision, observed.report, moment.pods)
        complete = moment.end is not None and moment.end.complete
        package = evidence.artifact if complete else None
        adapters = bundled(members, previous, evidence.adapters, published=package is not None)
        add_conditions(conditions, members, adapters)
        in_use = previous.current.uri if previous.current else None
        phase = _life(conditions, moment, package.uri if package else None, in_use)
        return AdapterBundleStatus(
            **lifecycle.fields(moment, _history(moment, previous)),
            phase=phase,
            conditions=lifecycle.ordered(conditions, _ORDER),
            stage=evidence.stage if moment.running else None,
            adapters=adapters,
            proof=evidence.proof if package else previous.proof,
            current=package or previous.current,
            usage=evidence.usage,
            restarts=evidence.restarts,
        )
    changes["conditions"] = lifecycle.ordered(conditions, _ORDER)
    return previous.model_copy(update=changes)


def _life(
    conditions: Conditions, moment: lifecycle.Moment, published: str | None, in_use: str | None
) -> str:
    """Add the conditions of the run; returns the phase."""
    end, hold = moment.end, moment.plan.hold
    if end is not None:
        return lifecycle.ended(
            conditions,
            moment,
            end,
            published=published,
            result=BundleResult,
            words=WORDS,
            in_use=in_use,
        )
    awaited = hold if hold is not None and hold.reason == ADAPTERS_NOT_READY else None
    return lifecycle.going_on(conditions, moment, words=WORDS, in_use=in_use, awaited=awaited)


def _history(moment: lifecycle.Moment, previous: AdapterBundleStatus) -> list[RevisionRecord]:
    """Earlier revisions, newest first. Those without a package go first: the others are needed
    to know which packages there are."""
    current = previous.current if is_true(previous.conditions, "Complete") else None
    records = lifecycle.history(moment, current.uri if current else None)
    while len(records) > lifecycle.HISTORY:
        idle = [it for it in records if it.artifact_uri is None]
        last = idle[-1] if idle else records[-1]
        records = [it for it in records if it is not last]
    return records
