"""What Prometheus scrapes. Runs are read from the store at scrape time, so that a
series is gone with its resource and back after a restart; only identities are labels."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

API_WRITES = Counter(
    "luthier_operator_api_writes", "Writing requests to the API server.", ["verb", "resource"]
)
QUEUE_DEPTH = Gauge("luthier_operator_queue_depth", "Resources that wait for a worker.")
WORK_SECONDS = Histogram(
    "luthier_operator_work_duration_seconds",
    "Duration of one reconciliation.",
    ["kind"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
RECONCILES = Counter(
    "luthier_operator_reconciles", "Reconciliations by result.", ["kind", "result"]
)
WATCH_EVENTS = Counter("luthier_operator_watch_events", "Events of the watches.", ["resource"])
WATCH_MISSES = Counter(
    "luthier_operator_watch_misses",
    "Objects that a relist found and the watch hadn't told of.",
    ["resource"],
)
REPORTS = Counter(
    "luthier_operator_progress_reports", "Progress reports by the answer's code.", ["code"]
)

PHASES = (
    "Pending",
    "Queued",
    "Running",
    "Restarting",
    "Suspended",
    "Complete",
    "Failed",
    "Stalled",
)

MOST_METRICS = 32
_NAME = re.compile(r"^[A-Za-z0-9_.@-]{1,64}$")

LABELS = ("namespace", "name", "kind", "pool")

_GAUGES = {
    "step": "Optimiser steps done.",
    "total_steps": "Optimiser steps in all.",
    "loss": "Training loss of the last log.",
    "eval_loss": "Last loss on the evaluation rows.",
    "learning_rate": "Learning rate.",
    "grad_norm": "Norm of the last step's gradient, before it is clipped.",
    "tokens_per_second": "Tokens learnt from in a second, without padding.",
    "samples_per_second": "Rows learnt from in a second.",
    "eta_seconds": "Expected time until the end.",
    "memory_bytes": "Resident memory of the trainer.",
    "restarts_failures": "Pods that crashed or ran out of memory.",
    "restarts_disruptions": "Pods that were evicted, preempted or deleted.",
    "trained_tokens": "Tokens learnt from by all attempts.",
    "cpu_seconds": "CPU time of all attempts.",
    "gpu_seconds": "GPU time of all attempts.",
    "checkpoints": "Checkpoints that the pod saved.",
    "checkpoint_seconds": "Wall time of the pod's checkpoint uploads.",
    "checkpoint_blocked_seconds": "Time that training stood still for checkpoints.",
    "checkpoint_bytes": "Bytes of checkpoints that the pod uploaded.",
    "checkpoint_last_seconds": "Wall time of the last checkpoint's upload.",
    "checkpoint_last_bytes": "Bytes of the last checkpoint.",
    "cpu_busy_cores": "CPUs that the pod kept busy since its last report.",
    "gpu_busy_ratio": "Share of the time in which the GPU was busy.",
    "gpu_memory_bytes": "Memory in use on the GPU.",
    "data_wait_ratio": "Share of the time in which training waited for data.",
}


@dataclass(frozen=True)
class RunSample:
    """One run, as a scrape shows it. `values` has keys of the gauges above; None is left out."""

    labels: tuple[str, str, str, str]  # namespace, name, kind, pool
    phase: str
    values: dict[str, float | None] = field(default_factory=dict)
    eval_metrics: dict[str, float] = field(default_factory=dict)  # of the last one while it trains
    # At the end, by model: base, tuned.
    evaluation: dict[str, dict[str, float]] = field(default_factory=dict)


class RunCollector(Collector):
    """Turns runs into luthier_run_* series."""

    def __init__(self, runs: Callable[[], Iterable[RunSample]]) -> None:
        self._runs = runs

    def describe(self) -> list[Metric]:
        """Nothing: registration must not run the collection."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All series of all runs."""
        runs = list(self._runs())
        state = GaugeMetricFamily(
            "luthier_run_state", "1 for the phase that the run is in.", labels=(*LABELS, "phase")
        )
        for run in runs:
            for phase in PHASES:
                state.add_metric((*run.labels, phase), float(run.phase == phase))
        yield state
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"luthier_run_{name}", text, labels=LABELS)
            for run in runs:
                value = run.values.get(name)
                if value is not None:
                    gauge.add_metric(run.labels, value)
            yield gauge
        yield from _evaluations(runs)


def _evaluations(runs: list[RunSample]) -> Iterator[Metric]:
    """The one label that is no identity is the metric's name: of a fixed list, or a script's."""
    during = GaugeMetricFamily(
        "luthier_run_eval_metric",
        "Metric on the evaluation rows, of the last evaluation while training.",
        labels=(*LABELS, "metric"),
    )
    after = GaugeMetricFamily(
        "luthier_run_evaluation",
        "Metric of the base and of the tuned model on the same rows, once both are measured.",
        labels=(*LABELS, "model", "metric"),
    )
    for run in runs:
        for name, value in _named(run.eval_metrics):
            during.add_metric((*run.labels, name), value)
        for model, metrics in run.evaluation.items():
            for name, value in _named(metrics):
                after.add_metric((*run.labels, model, name), value)
    yield during
    yield after


def _named(metrics: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Those with a plain name, and not too many: a script of a user's may return anything."""
    named = ((name, value) for name, value in sorted(metrics.items()) if _NAME.match(name))
    return islice(named, MOST_METRICS)
