"""Test data for the operator's pure parts, and what is read of what they make."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.platform import NamespaceDefaults, Platform
from luthier_api.runspec import RUNSPEC_ANNOTATION, AnyOrder, read_order
from luthier_api.runstatus import RunStatus
from luthier_operator.conditions import find
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.observe import Observed, observe
from luthier_operator.resources import FINE_TUNE_JOBS, REVISION_LABEL, Resource, label_of
from luthier_operator.run.actions import Delete, Patch
from luthier_operator.run.concurrency import Slots
from luthier_operator.run.decide import Plan
from luthier_operator.run.model import Around, Owner, Revision
from luthier_operator.store import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
OWNER = Owner(FINE_TUNE_JOBS, "team", "tone", UID)

SPEC: dict[str, Any] = {
    "model": {"uri": "s3://models/smollm2"},
    "task": "classification",
    "dataset": {"uri": "s3://data/a.jsonl", "template": "{text}: {label}", "evalFraction": 0.1},
    "training": {"maxSteps": 100},
    "output": {"uri": "s3://artifacts/models"},
}


CODE = {"configMapRef": {"name": "code", "key": "loss.py"}, "entrypoint": "Loss"}


def platform(*, consent: Sequence[str] = (), hub: str | None = None, **pool: Any) -> Platform:
    """luthier.yaml with the pool `cpu`, and `gpu` for one namespace."""
    return Platform.model_validate(
        {
            "defaultPool": "cpu",
            "pools": [
                {"name": "cpu", "image": "trainer:1", **pool},
                {"name": "gpu", "image": "trainer:1", "namespaces": ["rich"], "maxGpus": 1},
            ],
            "storage": {"endpoint": "http://s3:8333", "region": "r"},
            "progressUrl": "http://operator:8090",
            "hub": {"endpoint": hub},
            "consent": {"customCode": list(consent)},
        }
    )


def spec(**fields: Any) -> FineTuneJobSpec:
    """A valid spec with fields replaced."""
    return FineTuneJobSpec.model_validate(SPEC | fields)


def resource(
    *,
    generation: int = 1,
    status: dict[str, Any] | None = None,
    retry: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A FineTuneJob as the store has it."""
    metadata: dict[str, Any] = {
        "namespace": "team",
        "name": "tone",
        "uid": UID,
        "generation": generation,
        "resourceVersion": "1",
    }
    if retry:
        metadata["annotations"] = {"luthier.dev/retry": retry}
    return {"metadata": metadata, "spec": SPEC | fields, "status": status or {}}


def job_of(
    revision: Revision, *, end: str | None = None, reason: str = "", suspend: bool = False
) -> dict[str, Any]:
    """The Job of a revision; `end` is Complete or Failed."""
    built = build(OWNER, spec(), revision, platform())[-1]
    return stored(built, revision, end=end, reason=reason, suspend=suspend)


def stored(
    built: dict[str, Any],
    revision: Revision,
    *,
    end: str | None = None,
    reason: str = "",
    suspend: bool = False,
) -> dict[str, Any]:
    """A Job of a revision, as the store has it; `end` is Complete or Failed."""
    conditions = (
        [
            {
                "type": end,
                "status": "True",
                "reason": reason,
                "message": "",
                "lastTransitionTime": "2026-01-02T03:00:00Z",
            }
        ]
        if end
        else []
    )
    metadata = built["metadata"] | {
        "uid": f"job-{revision.name}-{revision.attempt}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-02T03:04:04Z",
    }
    return {
        "metadata": metadata,
        # As the API server and the limits of most specs here fill it.
        "spec": {"suspend": suspend, "backoffLimit": built["spec"]["backoffLimit"]},
        "status": {"conditions": conditions},
    }


def pod_of(
    job: dict[str, Any],
    name: str = "pod-1",
    *,
    phase: str = "Running",
    state: dict[str, Any] | None = None,
    node: str | None = "node",
    created: str = "2026-01-02T03:04:04Z",
) -> dict[str, Any]:
    """A pod of a Job."""
    metadata = job["metadata"]
    running = {"running": {"startedAt": created}}
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": f"uid-{name}",
            "labels": metadata["labels"],
            "creationTimestamp": created,
            "ownerReferences": [{"uid": metadata["uid"], "controller": True}],
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "containerStatuses": [
                {"name": "trainer", "state": running if state is None else state}
            ],
        },
    }


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    """The state of a container that has ended."""
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": "2026-01-02T03:04:04Z",
            "finishedAt": "2026-01-02T03:04:05Z",
        }
    }


def observed(
    obj: dict[str, Any] | None = None,
    *,
    jobs: list[dict[str, Any]] | None = None,
    pods: list[dict[str, Any]] | None = None,
    job_sets: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Observed:
    """What a reconciliation sees."""
    there = around(jobs=jobs, pods=pods, job_sets=job_sets)
    return replace(observe(obj or resource(), there), **changes)


def around(
    *,
    jobs: list[dict[str, Any]] | None = None,
    pods: list[dict[str, Any]] | None = None,
    fine_tune_jobs: list[dict[str, Any]] | None = None,
    job_sets: list[dict[str, Any]] | None = None,
) -> Around:
    """What the store knows beside the resource."""
    named = {it["metadata"]["name"]: it for it in fine_tune_jobs or []}
    return Around(
        jobs=jobs or [],
        pods=pods or [],
        namesakes=[],
        report=None,
        notes=(),
        admission=None,
        kueue=True,
        platform=platform(),
        now=NOW,
        look_up=named.get,
        job_sets=job_sets or [],
    )


class NothingOptional:
    """A cluster that has none of the kinds that it may lack."""

    def want(self, resource: Resource) -> None:
        """It won't come."""

    def installed(self, resource: Resource) -> bool | None:
        """It isn't there."""
        return False

    def served(self, resource: Resource) -> Resource | None:
        """In no version."""
        return None

    def watched(self, resource: Resource, namespace: str) -> bool | None:
        """It isn't there."""
        return False


def fine_tune_job(
    name: str = "tone", *, published: int = 0, state: str = "", **fields: Any
) -> dict[str, Any]:
    """A FineTuneJob that others follow: with the result of its revision number `published`, or
    with a condition (`state`: Failed, Stalled), or still running."""
    revision = f"r{published or 1}-{published:08}"
    kind = "Complete" if published else state
    condition = {
        "type": kind,
        "status": "True",
        "reason": "Because",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status: dict[str, Any] = {"revision": revision, "conditions": [condition] if kind else []}
    if published:
        uri = f"s3://artifacts/models/team/{name}/{revision}"
        status["artifact"] = {"uri": uri, "manifestSha256": f"{published:064}"}
    metadata = {"namespace": "team", "name": name, "uid": f"uid-{name}", "generation": 1}
    return {"metadata": metadata, "spec": SPEC | fields, "status": status}


def owned(
    kind: str, name: str, spec: dict[str, Any], *, generation: int = 1, **fields: Any
) -> dict[str, Any]:
    """A resource of another kind, as the store has it. `fields`: status, and retry."""
    annotations = {"luthier.dev/retry": fields["retry"]} if fields.get("retry") else {}
    metadata = {
        "namespace": "team",
        "name": name,
        "uid": f"uid-{kind}-{name}",
        "generation": generation,
        "resourceVersion": "1",
        "annotations": annotations,
    }
    return {"metadata": metadata, "spec": spec, "status": fields.get("status") or {}}


def result(revision: Revision, **fields: Any) -> str:
    """What a trainer that succeeds says at its end, with fields added or replaced."""
    own = {"revision": revision.name, "attempt": revision.attempt, "outcome": "Succeeded"}
    return json.dumps(own | fields)


def changes_in(plan: Plan) -> list[dict[str, Any]]:
    """What a plan changes of the objects that are there."""
    return [action.changes for action in plan.actions if isinstance(action, Patch)]


def deleted_by(plan: Plan) -> list[dict[str, Any]]:
    """The objects that a plan deletes."""
    return [action.obj for action in plan.actions if isinstance(action, Delete)]


def revisions_deleted_by(plan: Plan) -> list[str]:
    """The revisions of the Jobs that a plan deletes."""
    return [str(label_of(obj, REVISION_LABEL)) for obj in deleted_by(plan)]


def limited(most: int | None, **pools: int) -> Platform:
    """A luthier.yaml with `most` runs at once in each namespace, and in `pools` beside its own."""
    own = platform()
    more = [own.pools[0].model_copy(update={"name": n, "max_runs": it}) for n, it in pools.items()]
    general = NamespaceDefaults(max_runs=most)
    return own.model_copy(update={"pools": [*own.pools, *more], "namespaces": {"*": general}})


def slots(store: Store, most: int | None = None) -> Slots:
    """Places for `most` runs at once in each namespace; without it for any number."""
    return Slots(store.live, limited(most), lambda *_: None)


def order_in(plan: Plan) -> AnyOrder:
    """The order of the Job that a plan creates."""
    annotations = plan.created[-1]["spec"]["template"]["metadata"]["annotations"]
    return read_order(annotations[RUNSPEC_ANNOTATION].encode())


def reasons(of: RunStatus) -> dict[str, str]:
    """Its conditions: type → status and reason."""
    return {it.type: f"{it.status} {it.reason}" for it in of.conditions}


def message(of: RunStatus, kind: str) -> str:
    """Of the condition of that type, which must be there."""
    condition = find(of.conditions, kind)
    assert condition is not None
    return condition.message
