"""A run on this machine as a resource: what `luthier watch` would see of it in a cluster. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from luthier_api import API_VERSION
from luthier_api.adapterbundle import BundledRevision
from luthier_api.progress import ProgressReport
from luthier_api.result import (
    AdapterEnd,
    BundleResult,
    OptimizeResult,
    RunEnd,
    RunResult,
)
from luthier_api.runspec import BundleOrder, OptimizeOrder, RunSpec
from luthier_api.tracking import told_of
from luthier_cli.state import Resource

AnyOrder = RunSpec | OptimizeOrder | BundleOrder

# What report, result and status all name alike.
_COMMON = (
    "checkpoints",
    "datasetDigest",
    "dataset",
    "estimate",
    "resolved",
    "evaluation",
    "search",
    "tracking",
    "baseline",
    "candidates",
    "usage",
    "restarts",
)
_GATES_NOT_MET = "GatesNotMet"


def result_type(order: AnyOrder) -> type[RunResult | OptimizeResult | BundleResult]:
    """What the trainer leaves at the end of such an order."""
    match order:
        case RunSpec():
            return RunResult
        case OptimizeOrder():
            return OptimizeResult
        case BundleOrder():
            return BundleResult


def running(
    order: AnyOrder, started: datetime, report: ProgressReport | None, now: datetime
) -> Resource:
    """The run as a resource while it goes on."""
    status: dict[str, Any] = {"phase": "Running" if report else "Starting"}
    if report:
        progress = report.progress.to_json()
        if isinstance(order, RunSpec):
            if report.eta_seconds is not None and "estimatedFinish" not in progress:
                finish = now + timedelta(seconds=report.eta_seconds)
                progress["estimatedFinish"] = finish.isoformat(timespec="seconds")
            status["progress"] = progress
        elif stage := progress.get("stage"):
            status["stage"] = stage
        status |= _common(report)
        status |= _adapters(order, report.adapters, published=False)
        status["conditions"] = [*_conditions(report), *_compatible(report.adapters)]
    return _resource(order, started, status)


def ended(order: AnyOrder, started: datetime, finished: datetime, result: RunEnd) -> Resource:
    """The run as a resource once it has ended, in whatever way."""
    conditions = []
    if isinstance(result, RunResult) and result.dataset_valid is not None:
        conditions.append(_dataset_condition(result.dataset_valid, result))
    if result.outcome == "Succeeded":
        conditions.append(_condition("Complete", "True", "Succeeded", "the result is published"))
    elif result.error:
        message = result.error.message
        if result.error.param:
            message = f"{message} [spec.{result.error.param.removeprefix('spec.')}]"
        conditions.append(_condition("Failed", "True", result.error.code, message))
    phase = {"Succeeded": "Complete"}.get(result.outcome, result.outcome)
    status = {
        "phase": phase,
        "completionTime": finished.isoformat(timespec="seconds"),
        "conditions": conditions,
        **_common(result),
    }
    match result:
        case RunResult():
            conditions += _warnings(result)
            if result.progress:
                status["progress"] = result.progress.to_json()
            status |= _named("artifact", result.artifact)
        case OptimizeResult():
            conditions += _gates(result)
            status |= _named("artifact", result.artifact)
        case BundleResult():
            conditions += _compatible(result.adapters)
            status |= _adapters(order, result.adapters, published=result.artifact is not None)
            status |= _named("proof", result.proof)
            status |= _named("current", result.artifact)
    return _resource(order, started, status)


def _common(source: ProgressReport | RunEnd) -> dict[str, Any]:
    document = source.to_json()
    return {name: document[name] for name in _COMMON if document.get(name)}


def _named(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value.to_json()}


def _adapters(order: AnyOrder, ends: list[AdapterEnd], *, published: bool) -> dict[str, Any]:
    """The adapters of a bundle, as its status has them."""
    if not isinstance(order, BundleOrder):
        return {}
    known = {end.name: end for end in ends}
    found = []
    for adapter in order.adapters:
        end = known.get(adapter.name)
        state = "Included" if (end.included if end else published) else "LeftOut"
        bundled = BundledRevision(
            name=adapter.name,
            uri=adapter.source.uri,
            revision=adapter.source.revision,
            manifest_sha256=adapter.source.manifest_sha256,
            state=state if end or published else "Pending",
            reason=end.code if end else None,
            message=end.message if end else None,
        )
        found.append(bundled.to_json())
    return {"adapters": found}


def _warnings(source: ProgressReport | RunResult) -> Iterator[dict[str, Any]]:
    """The conditions that the operator makes of the same."""
    if source.overfitting:
        yield _condition("Overfitting", "True", "LearnsByHeart", source.overfitting)
    if source.inexact_resume:
        yield _condition("ResumeExact", "False", "NotReproducible", source.inexact_resume)
    if source.tracking:
        problem, told = told_of(source.tracking)
        reason = "NotTracked" if problem else "Tracked"
        yield _condition("Tracked", str(not problem), reason, told)


def _gates(result: OptimizeResult) -> Iterator[dict[str, Any]]:
    if result.artifact:
        words = f"{result.artifact.precision}, of {len(result.candidates)} candidates."
        yield _condition("GatesPassed", "True", "Passed", words)
    elif result.error and result.error.code == _GATES_NOT_MET:
        yield _condition("GatesPassed", "False", _GATES_NOT_MET, result.error.message)


def _compatible(adapters: list[AdapterEnd]) -> Iterator[dict[str, Any]]:
    left_out = [end for end in adapters if not end.included]
    if left_out:
        words = [f"{it.name} ({it.code or 'left out'}): {it.message or ''}" for it in left_out]
        message = " ".join(words).strip()
        yield _condition("AdaptersCompatible", "False", "AdaptersLeftOut", message)


def _conditions(report: ProgressReport) -> Iterator[dict[str, Any]]:
    if report.dataset_valid is not None:
        yield _dataset_condition(report.dataset_valid, report)
    if report.resumed_from_step is not None:
        message = f"from the checkpoint of step {report.resumed_from_step:,}"
        yield _condition("Resumed", "True", "CheckpointFound", message)
    yield from _warnings(report)


def _dataset_condition(valid: bool, source: ProgressReport | RunResult) -> dict[str, Any]:
    reason = "Checked" if valid else "Invalid"
    return _condition(
        "DatasetValid", "True" if valid else "False", reason, source.dataset_summary or ""
    )


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _resource(order: AnyOrder, started: datetime, status: dict[str, Any]) -> Resource:
    run = order.run
    spec = order.optimizing.to_json() if isinstance(order, OptimizeOrder) else {}
    return {
        "apiVersion": API_VERSION,
        "kind": run.kind,
        "metadata": {"namespace": run.namespace, "name": run.name, "uid": run.uid},
        # As much of it as there is to show.
        "spec": {name: value for name, value in spec.items() if name == "gates"},
        "status": {
            "revision": run.revision,
            "attempt": run.attempt,
            "startTime": started.astimezone(UTC).isoformat(timespec="seconds"),
            **status,
        },
    }
