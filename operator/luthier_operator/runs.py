"""The runs of the store that live or have just ended, as the metrics show them. Pure."""

import logging
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, get_args

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.finetunejob import FineTuneJobStatus, Progress
from luthier_api.optimizejob import OptimizeJobStatus, Precision
from luthier_api.platform import Platform
from luthier_api.progress import ProgressReport
from luthier_api.revision import is_revision, revision_number
from luthier_api.runstatus import RunStatus
from luthier_operator.conditions import find, is_true, timestamp
from luthier_operator.finetunejob.evidence import OVERFITTING
from luthier_operator.reports import Received, Reports
from luthier_operator.resources import (
    ATTEMPT_LABEL,
    JOBS,
    OWNERS,
    REVISION_LABEL,
    Key,
    Obj,
    Resource,
    label_of,
)
from luthier_operator.run.observe import parse_any_status
from luthier_operator.series import OTHER, STAGES, CandidateSample, RunSample
from luthier_operator.store import Store
from luthier_operator.usage.holding import pool_of

log = logging.getLogger(__name__)

# So long a run that has ended is shown: some scrapes must see its last values.
ENDED_SECONDS = 3600

# What the API takes for a reason; anything else is somebody's own.
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


class Known(NamedTuple):
    """What there is of a resource. `jobs`: of one whose run hasn't ended."""

    resource: Resource
    key: Key
    obj: Obj
    received: Received | None
    jobs: list[Obj]


def take(store: Store, reports: Reports, now: datetime) -> list[Known]:
    """What is known at this moment, for `samples` to look at while the store goes on.

    Runs in the event loop: of what has ended no more than a word is read.
    """
    since = timestamp(now - timedelta(seconds=ENDED_SECONDS))
    return [
        Known(resource, key, obj, reports.get(resource, key), _jobs(store, key, obj))
        for resource in OWNERS
        for key, obj in store.all(resource)
        # Times in a status are timestamp()'s, or Kubernetes': of one form, which sorts as text.
        if (obj["status"].get("completionTime") or since) >= since
    ]


def samples(known: Sequence[Known], platform: Platform, now: datetime) -> Iterator[RunSample]:
    """One sample a resource. What only reports tell is there while the operator remembers it.

    One that can't be shown is left out: it mustn't cost anybody else's.
    """
    for it in known:
        try:
            sample = _sample(it, platform, now)
        except Exception:
            log.exception("no metrics kind=%s namespace=%s name=%s", it.resource.kind, *it.key)
            continue
        yield sample


def _jobs(store: Store, key: Key, obj: Obj) -> list[Obj]:
    if obj["status"].get("completionTime") is not None:
        return []
    return store.children(JOBS, key[0], obj["metadata"]["uid"])


def _sample(known: Known, platform: Platform, now: datetime) -> RunSample:
    resource, key, obj, received, jobs = known
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
    values |= _package(status) | {
        "deadline_seconds": _left(jobs, status, now),
        "overfitting": float(is_true(status.conditions, OVERFITTING)),
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
        reason=_reason(status),
        stage=_stage(progress, status) if running else None,
        candidates=_candidates(status),
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


def _reason(status: RunStatus) -> str | None:
    """Why it doesn't go on, or not yet."""
    for kind, wanted in (("Failed", "True"), ("Stalled", "True"), ("Scheduled", "False")):
        found = find(status.conditions, kind)
        if found is not None and found.status == wanted:
            return found.reason if _REASON.fullmatch(found.reason) else OTHER
    return None


def _stage(progress: Progress | None, status: RunStatus) -> str | None:
    told = progress.stage if progress else getattr(status, "stage", None)
    if not told:
        return None
    return next((it for it in STAGES if told.startswith(it)), OTHER)


def _left(jobs: Sequence[Obj], status: RunStatus, now: datetime) -> float | None:
    """Seconds until the Job of this attempt ends for its age. Its time begins when it may start."""
    ends = [
        began.timestamp() + job["spec"]["activeDeadlineSeconds"]
        for job in jobs
        if job["spec"].get("activeDeadlineSeconds") and not job["spec"].get("suspend")
        if label_of(job, REVISION_LABEL) == status.revision
        if label_of(job, ATTEMPT_LABEL) == str(status.attempt)
        if (began := _time(job["status"].get("startTime"))) is not None
    ]
    return max(0.0, min(ends) - now.timestamp()) if ends else None


def _package(status: RunStatus) -> dict[str, float | None]:
    if isinstance(status, OptimizeJobStatus) and status.artifact is not None:
        chosen = [it for it in status.candidates if it.verdict == "Chosen"]
        if chosen:
            size, speed = chosen[0].size_bytes, chosen[0].tokens_per_second
            return {"package_bytes": size, "package_tokens_per_second": speed}
    if isinstance(status, AdapterBundleStatus):
        left_out = sum(it.state == "LeftOut" for it in status.adapters)
        values: dict[str, float | None] = {"adapters_left_out": left_out}
        if (proof := status.proof) is not None:
            values |= {"package_bytes": proof.size_bytes, "package_adapters": proof.adapters}
        return values
    return {}


def _candidates(status: RunStatus) -> tuple[CandidateSample, ...]:
    if not isinstance(status, OptimizeJobStatus):
        return ()
    return tuple(
        CandidateSample(
            it.precision,
            it.verdict,
            {
                name: float(value)
                for name, value in {
                    "bytes": it.size_bytes,
                    "tokens_per_second": it.tokens_per_second,
                    "metric_delta": it.metric_delta,
                }.items()
                if value is not None
            },
        )
        for it in status.candidates
        if it.precision in get_args(Precision)
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
    then = _time(finish)
    return None if then is None else max(0.0, then.timestamp() - now.timestamp())


def _time(text: str | None) -> datetime | None:
    try:
        told = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return told if told is None or told.tzinfo else told.replace(tzinfo=UTC)
