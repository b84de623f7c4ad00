"""Every run in the store, as the metrics show it. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.platform import Platform
from luthier_api.progress import ProgressReport
from luthier_api.runstatus import RunStatus
from luthier_operator.metrics import RunSample
from luthier_operator.reports import Reports
from luthier_operator.resources import OWNERS, Key, Obj, Resource
from luthier_operator.run.observe import parse_any_status
from luthier_operator.store import Store


def samples(
    store: Store, reports: Reports, platform: Platform, now: datetime
) -> Iterator[RunSample]:
    """One sample a resource. What only reports tell is there while the operator remembers it."""
    for resource in OWNERS:
        for key, obj in store.all(resource):
            yield _sample(resource, key, obj, reports, platform, now)


def _sample(
    resource: Resource, key: Key, obj: Obj, reports: Reports, platform: Platform, now: datetime
) -> RunSample:
    status = parse_any_status(resource, obj)
    received = reports.get(resource, key)
    report = received.report if received else None
    if report is not None and report.run.revision != status.revision:
        report = None
    running = status.phase in ("Running", "Restarting")
    progress = status.progress if isinstance(status, FineTuneJobStatus) else None
    if report and running:
        progress = report.progress
    values: dict[str, float | None] = {}
    if progress is not None:
        values |= {
            "step": progress.step,
            "total_steps": progress.total_steps,
            "loss": progress.loss,
            "eval_loss": progress.eval_loss,
            "learning_rate": progress.learning_rate,
            "grad_norm": progress.grad_norm,
            "tokens_per_second": progress.tokens_per_second,
            "samples_per_second": progress.samples_per_second,
            "memory_bytes": progress.memory_bytes if running else None,
            "eta_seconds": _eta(progress.estimated_finish, now) if running else None,
        }
    return RunSample(
        labels=(*key, resource.kind, _pool(obj, platform)),
        phase=status.phase or "Pending",
        values=values | _totals(status, report) | (_machine(report) if running else {}),
        eval_metrics=report.eval_metrics if report and running else {},
        evaluation=_evaluation(status),
    )


def _machine(report: ProgressReport | None) -> dict[str, float | None]:
    if report is None:
        return {}
    machine = report.machine
    return {
        "cpu_busy_cores": _hundredth(machine.cpu_percent),
        "gpu_busy_ratio": _hundredth(machine.gpu_percent),
        "gpu_memory_bytes": machine.gpu_memory_bytes,
        "data_wait_ratio": _hundredth(machine.data_wait_percent),
    }


def _hundredth(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _evaluation(status: RunStatus) -> dict[str, dict[str, float]]:
    if not isinstance(status, FineTuneJobStatus) or status.evaluation is None:
        return {}
    return {"base": status.evaluation.base, "tuned": status.evaluation.tuned}


def _totals(status: RunStatus, report: ProgressReport | None) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    if status.restarts is not None:
        values["restarts_failures"] = status.restarts.failures
        values["restarts_disruptions"] = status.restarts.disruptions
    if status.usage is not None:
        values["trained_tokens"] = status.usage.trained_tokens
        values["cpu_seconds"] = status.usage.cpu_seconds
        values["gpu_seconds"] = status.usage.gpu_seconds
    if report is not None:
        cost = report.checkpoint_cost
        values |= {
            "checkpoints": cost.count,
            "checkpoint_seconds": cost.seconds,
            "checkpoint_blocked_seconds": cost.blocked_seconds,
            "checkpoint_bytes": cost.bytes,
            "checkpoint_last_seconds": cost.last_seconds,
            "checkpoint_last_bytes": cost.last_bytes,
        }
    return values


def _eta(finish: str | None, now: datetime) -> float | None:
    if finish is None:
        return None
    try:
        then = datetime.fromisoformat(finish)
    except ValueError:
        return None
    return max(
        0.0, (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    )


def _pool(obj: Obj, platform: Platform) -> str:
    placement = (obj.get("spec") or {}).get("placement") or {}
    namespace = obj["metadata"]["namespace"]
    name = placement.get("pool") or platform.for_namespace(namespace).pool or platform.default_pool
    return str(name)
