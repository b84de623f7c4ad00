"""What an AdapterBundle's status says beside what every kind's does. Pure."""

from typing import Any

from luthier_api import outcome
from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.result import BundleResult
from luthier_operator.adapterbundle.decide import ADAPTERS_NOT_READY
from luthier_operator.adapterbundle.evidence import Evidence, gather
from luthier_operator.adapterbundle.members import (
    ADAPTERS_COMPATIBLE,
    ADAPTERS_READY,
    add_conditions,
    bundled,
)
from luthier_operator.adapterbundle.observe import Observed
from luthier_operator.conditions import Conditions
from luthier_operator.errors import Refusal
from luthier_operator.run import lifecycle, status
from luthier_operator.run.decide import Plan
from luthier_operator.run.lifecycle import Run
from luthier_operator.run.progress import of_parts
from luthier_operator.run.sentences import Sentences
from luthier_operator.run.status import Rules, results_first

SENTENCES = Sentences(
    more_memory="Choose a pool with more memory (placement.pool).",
    goes_on="The next attempt begins again.",
    suspending="The pod ends.",
    found_again="Run `luthier retry`: the finished artifact is found again, without building it "
    "again.",
)


def compute(observed: Observed, plan: Plan, refused: Refusal | None = None) -> AdapterBundleStatus:
    """The status of this moment. `refused`: the API server didn't take what the plan creates."""
    return status.compute(RULES, observed, plan, refused)


def _own(conditions: Conditions, run: Run[Observed], evidence: Evidence) -> dict[str, Any]:
    previous, sources = run.observed.previous, run.observed.sources
    package = evidence.artifact if run.complete else None
    adapters = bundled(sources, previous, evidence.adapters, published=package is not None)
    add_conditions(conditions, sources, adapters)
    proof = evidence.proof if package else previous.proof
    return {
        "stage": evidence.stage if run.running else None,
        "progress": of_parts(evidence.progress, going=run.running),
        "result": outcome.of_bundle(adapters, proof),
        "adapters": adapters,
        "proof": proof,
        "current": package or previous.current,
        "usage": evidence.usage,
        "restarts": evidence.restarts,
    }


def _awaited(run: Run[Observed]) -> Refusal | None:
    hold = run.plan.hold
    return hold if hold is not None and hold.reason == ADAPTERS_NOT_READY else None


def _on_record(observed: Observed, conditions: Conditions) -> dict[str, Any]:
    adapters = bundled(observed.sources, observed.previous, {}, published=False)
    add_conditions(conditions, observed.sources, adapters)
    return {"adapters": adapters}


RULES: Rules[Observed, AdapterBundleStatus, Evidence] = Rules(
    status=AdapterBundleStatus,
    result=BundleResult,
    sentences=SENTENCES,
    order=(*lifecycle.SHARED, ADAPTERS_READY, "Running", ADAPTERS_COMPATIBLE),
    gather=gather,
    nothing=Evidence(),
    published=lambda evidence: evidence.artifact,
    saved=lambda _: False,
    own=_own,
    awaited=_awaited,
    on_record=_on_record,
    kept=results_first,
)
