"""The runs of the store that live or have just ended, as the metrics show them. Pure."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.platform import Platform
from luthier_api.progress import ProgressReport
from luthier_api.revision import is_revision, revision_number
from luthier_api.runstatus import RunStatus
from luthier_operator.conditions import timestamp
from luthier_operator.reports import Received, Reports
from luthier_operator.resources import OWNERS, Key, Obj, Resource
from luthier_operator.run.observe import parse_any_status
from luthier_operator.series import RunSample
from luthier_operator.store import Store
from luthier_operator.usage.holding import pool_of

log = logging.getLogger(__name__)

# So long a run that has ended is shown: some scrapes must see its last values.
ENDED_SECONDS = 3600

# A resource, and what was last reported of it.
Known = tuple[Resource, Key, Obj, Received | None]


def take(store: Store, reports: Reports, now: datetime) -> list[Known]:
    """What is known at this moment, for `samples` to look at while the store goes on.

    Runs in the event loop: of what has ended no more than a word is read.
    """
    since = timestamp(now - timedelta(seconds=ENDED_SECONDS))
    return [
        (resource, key, obj, reports.get(resource, key))
        for resource in OWNERS
        for key, obj in store.all(resource)
        # Times in a status are timestamp()'s, or Kubernetes': of one form, which sorts as text.
        if (obj["status"].get("completionTime") or since) >= since
    ]


def samples(known: Sequence[Known], platform: Platform, now: datetime) -> Iterator[RunSample]:
    """One sample a resource. What only reports tell is there while the operator remembers it.

    One that can't be shown is left out: it mustn't cost anybody else's.
    """
    for resource, key, obj, received in known:
        try:
            sample = _sample(resource, key, obj, received, platform, now)
        except Exception:
            log.exception("no metrics kind=%s namespace=%s name=%s", resource.kind, *key)
            continue
        yield sample


def _sample(
    resource: Resource,
    key: Key,
    obj: Obj,
    received: Received | None,
    platform: Platform,
    now: datetime,
) -> RunSample:
    status = parse_any_status(resource, obj)
    report = received.report if received else None
    of_now = (obj["metadata"]["uid"], status.revision)
    if report is not None and (report.run.uid, report.run.revision) != of_now:
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
    values |= {
        "revision": _number(status.revision),
        "in_use_revision": _number(status.in_use.revision if status.in_use else None),
    }
    search = report.search if report and running else None
    if search is None and isinstance(status, FineTuneJobStatus):
        search = status.search
    if search is not None:
        values |= {
            "trials": search.trials,
            "trials_running": search.running if running else None,
            "trials_complete": search.complete,
            "trials_pruned": search.pruned,
            "trials_failed": search.failed,
            "trials_best": search.best.value if search.best else None,
        }
    return RunSample(
        labels=(*key, resource.kind, pool_of(obj, platform)),
        phase=status.phase or "Pending",
        values={
            name: float(value)
            for name, value in (
                values | _totals(status, report) | (_machine(report) if running else {})
            ).items()
            if value is not None
        },
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


def _number(revision: str | None) -> float | None:
    return revision_number(revision) if revision and is_revision(revision) else None


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
