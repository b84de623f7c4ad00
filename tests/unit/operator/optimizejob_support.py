"""OptimizeJobs for the operator's tests, and what becomes of them."""

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

from luthier_api.optimizejob import OptimizeJobStatus
from luthier_api.runspec import OptimizeOrder
from luthier_operator.optimizejob.decide import decide
from luthier_operator.optimizejob.observe import Observed, observe
from luthier_operator.optimizejob.status import compute
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import Revision

Obj = dict[str, Any]

OUTPUT = {"uri": "s3://artifacts/models"}
BY_JOB: Obj = {"source": {"fineTuneJobRef": {"name": "tone"}}, "output": OUTPUT}
BY_URI: Obj = {
    "source": {"modelUri": "hf://owner/model", "revision": "main", "adapterUri": "s3://b/adapter"},
    "output": OUTPUT,
}
CANDIDATES = [
    {"precision": "int8", "sizeBytes": 100, "verdict": "Chosen", "reason": "the smallest"},
    {"precision": "int4", "sizeBytes": 60, "verdict": "Rejected", "reason": "too dull"},
]
BASELINE = {"precision": "fp32", "perplexity": 3.5}


def resource(spec: Obj = BY_JOB, **fields: Any) -> Obj:
    return owned("OptimizeJob", "small", spec, **fields)


def seen(
    obj: Obj | None = None,
    *,
    source: Obj | None = None,
    jobs: list[Obj] | None = None,
    pods: list[Obj] | None = None,
    **changes: Any,
) -> Observed:
    known = around(jobs=jobs, pods=pods, fine_tune_jobs=[source] if source else [])
    return observe(obj or resource(), replace(known, **changes))


def order_of(plan: Plan) -> OptimizeOrder:
    order = order_in(plan)
    assert isinstance(order, OptimizeOrder)
    return order


def started() -> tuple[Revision, Obj]:
    """The first revision and its Job's manifest."""
    plan = decide(seen(source=fine_tune_job(published=1)))
    assert plan.revision is not None
    return plan.revision, plan.created[-1]


def status(observed: Observed) -> OptimizeJobStatus:
    return compute(observed, decide(observed))


def published(revision: Revision) -> Obj:
    uri = f"s3://artifacts/models/team/small/{revision.name}"
    return {"uri": uri, "manifestSha256": "e" * 64, "precision": "int8"}


def completed(**artifact: str) -> OptimizeJobStatus:
    """The status after the first revision has been published; `artifact`: what it says of it."""
    revision, manifest = started()
    job = stored(manifest, revision, end="Complete")
    said = published(revision) | artifact
    told = result(revision, candidates=CANDIDATES, baseline=BASELINE, artifact=said)
    pod = pod_of(job, phase="Succeeded", state=ended(0, told))
    return status(seen(source=fine_tune_job(published=1), jobs=[job], pods=[pod]))
