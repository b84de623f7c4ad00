"""AdapterBundles for the operator's tests, and what becomes of them."""

from dataclasses import replace
from typing import Any

from unit.operator.builders import (
    around,
    ended,
    fine_tune_job,
    order_in,
    owned,
    pod_of,
    result,
    stored,
)

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.runspec import BundleOrder
from luthier_operator.adapterbundle.decide import decide
from luthier_operator.adapterbundle.observe import Observed, observe
from luthier_operator.adapterbundle.status import compute
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import Revision

Obj = dict[str, Any]

TONE: Obj = {"name": "tone", "fineTuneJobRef": {"name": "tone"}}
MOOD: Obj = {"name": "mood", "fineTuneJobRef": {"name": "mood"}}
TOPIC: Obj = {"name": "topic", "uri": "s3://adapters/topic"}
BUNDLE: Obj = {
    "base": {"uri": "s3://models/smollm2"},
    "adapters": [TONE, MOOD, TOPIC],
    "output": {"uri": "s3://artifacts/models"},
}
OF_JOBS = BUNDLE | {"adapters": [TONE, MOOD]}
BOTH = (fine_tune_job("tone", published=1), fine_tune_job("mood", published=1))


def resource(spec: Obj = BUNDLE, **fields: Any) -> Obj:
    return owned("AdapterBundle", "voices", spec, **fields)


def seen(
    obj: Obj | None = None,
    *sources: Obj,
    jobs: list[Obj] | None = None,
    pods: list[Obj] | None = None,
    **changes: Any,
) -> Observed:
    known = around(jobs=jobs, pods=pods, fine_tune_jobs=list(sources))
    return observe(obj or resource(), replace(known, **changes))


def order_of(plan: Plan) -> BundleOrder:
    order = order_in(plan)
    assert isinstance(order, BundleOrder)
    return order


def status(observed: Observed) -> AdapterBundleStatus:
    return compute(observed, decide(observed))


def states(of: AdapterBundleStatus) -> dict[str, str]:
    return {it.name: it.state for it in of.adapters}


def package(revision: Revision) -> Obj:
    uri = f"s3://artifacts/models/team/voices/{revision.name}"
    return {"uri": uri, "manifestSha256": "e" * 64}


def run(obj: Obj, *sources: Obj) -> tuple[Revision, Obj]:
    """The revision that is wanted, and its Job's manifest."""
    plan = decide(seen(obj, *sources))
    assert plan.revision is not None
    return plan.revision, plan.created[-1]


def built(obj: Obj, *sources: Obj, **told: Any) -> AdapterBundleStatus:
    """The status after the wanted revision has been published; `told`: of its result."""
    revision, manifest = run(obj, *sources)
    job = stored(manifest, revision, end="Complete")
    own = {"artifact": package(revision), "proof": {"adapters": 3, "isolated": True}}
    pod = pod_of(job, phase="Succeeded", state=ended(0, result(revision, **(own | told))))
    return status(seen(obj, *sources, jobs=[job], pods=[pod]))


def broken(obj: Obj, *sources: Obj, **told: Any) -> AdapterBundleStatus:
    """The status after the wanted revision has failed."""
    revision, manifest = run(obj, *sources)
    job = stored(manifest, revision, end="Failed", reason="PodFailurePolicy")
    error = {"code": "BaseUnknown", "message": "no such architecture"}
    end = result(revision, **({"outcome": "Failed", "error": error} | told))
    pod = pod_of(job, phase="Failed", state=ended(78, end))
    return status(seen(obj, *sources, jobs=[job], pods=[pod]))
