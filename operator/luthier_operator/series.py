"""The luthier_run_* series, in Prometheus' text format. Only identities are labels. Pure.

They are made of the store at scrape time, so that a series is gone with its resource and back
after a restart. A counter is a sum that never falls while its revision lasts, or its pod; with the
next one it begins anew, which is what rate() and increase() take a fall for. What may fall
meanwhile (steps, after a pod has gone back to its checkpoint) is a gauge.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from luthier_api.evaluation import is_metric

MOST_METRICS = 32

_GAUGES = {
    "step": "Optimiser steps done.",
    "total_steps": "Optimiser steps in all.",
    "revision": "Number of the revision that the spec asks for.",
    "in_use_revision": "Number of the revision whose result is in use.",
    "loss": "Training loss of the last log.",
    "eval_loss": "Last loss on the evaluation rows.",
    "learning_rate": "Learning rate.",
    "grad_norm": "Norm of the last step's gradient, before it is clipped.",
    "tokens_per_second": "Tokens learnt from in a second, without padding.",
    "samples_per_second": "Rows learnt from in a second.",
    "eta_seconds": "Expected time until the end.",
    "memory_bytes": "Resident memory of the trainer.",
    "checkpoint_last_seconds": "Wall time of the last checkpoint's upload.",
    "checkpoint_last_bytes": "Bytes of the last checkpoint.",
    "cpu_busy_cores": "CPUs that the pod kept busy since its last report.",
    "gpu_busy_ratio": "Share of the time in which the GPU was busy.",
    "gpu_memory_bytes": "Memory in use on the GPU.",
    "data_wait_ratio": "Share of the time in which training waited for data.",
    "trials": "Trials that the search makes.",
    "trials_running": "Trials of the search that run.",
    "trials_complete": "Trials of the search that came to their end.",
    "trials_pruned": "Trials of the search that were ended early.",
    "trials_failed": "Trials of the search that failed.",
    "trials_best": "The objective of the best trial so far.",
    "deadline_seconds": "Time left until limits.activeDeadlineSeconds ends the run.",
    "overfitting": "1 where the trainer told that the model learns by heart.",
    "package_bytes": "Size of the package that was published.",
    "package_tokens_per_second": "Speed of the package that was published.",
    "package_adapters": "Adapters in the package that was published.",
    "adapters_left_out": "Adapters of the spec that don't fit into the package.",
}
# Words that a run has one of at a time: each is 1, with the word as a label.
_WORDS = {
    "state": ("phase", "1, with the phase that the run is in."),
    "stage": ("stage", "1, with what its trainer is doing."),
    "reason": ("reason", "1, with why it is held back, stalled or failed."),
}
_CANDIDATE = {
    "bytes": "Size of a candidate's package.",
    "tokens_per_second": "Speed of a candidate.",
    "metric_delta": "The gates' metric of a candidate less that of the source.",
}
STAGES = (
    "Preflight", "Fetching", "Loading", "Training", "Building", "Converting", "Measuring",
    "Proving", "Evaluating", "Publishing", "Done",
)  # fmt: skip
OTHER = "Other"
# Of the revision, over all its attempts …
_COUNTERS = {
    "restarts_failures": "Pods that crashed or ran out of memory.",
    "restarts_disruptions": "Pods that were evicted, preempted or deleted.",
    "trained_tokens": "Tokens learnt from by all attempts.",
    "cpu_seconds": "CPU time of all attempts.",
    "gpu_seconds": "GPU time of all attempts.",
    # … and of the pod.
    "checkpoints": "Checkpoints that the pod saved.",
    "checkpoint_seconds": "Wall time of the pod's checkpoint uploads.",
    "checkpoint_blocked_seconds": "Time that training stood still for checkpoints.",
    "checkpoint_bytes": "Bytes of checkpoints that the pod uploaded.",
}


@dataclass(frozen=True)
class RunSample:
    """One run, as a scrape shows it. `values` has keys of the gauges and counters above."""

    labels: tuple[str, str, str, str]  # namespace, name, kind, pool
    phase: str
    values: dict[str, float] = field(default_factory=dict)
    eval_metrics: dict[str, float] = field(default_factory=dict)  # of the last one while it trains
    # At the end, by model: base, tuned.
    evaluation: dict[str, dict[str, float]] = field(default_factory=dict)
    reason: str | None = None
    stage: str | None = None
    candidates: tuple["CandidateSample", ...] = ()


@dataclass(frozen=True)
class CandidateSample:
    """A candidate of a run that optimises. `values` has keys of `_CANDIDATE`."""

    precision: str
    verdict: str | None
    values: dict[str, float]


class Family:
    """The lines of one name."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        self.name = name
        self.lines = [f"# HELP {self.name} {text}", f"# TYPE {self.name} {kind}"]

    def add(self, labels: str, value: float) -> None:
        """A series, and its value."""
        self.lines.append(f"{self.name}{{{labels}}} {_number(value)}")


def text_of(runs: Iterable[RunSample]) -> bytes:
    """All series of all runs.

    Written here, where prometheus_client would sort and escape the labels of a run for each of
    its series anew: of 1,000 runs there are tens of thousands.
    """
    words = {name: _family(name, "gauge", text) for name, (_, text) in _WORDS.items()}
    candidates = {
        name: _family(f"candidate_{name}", "gauge", text) for name, text in _CANDIDATE.items()
    }
    verdict = _family("candidate_verdict", "gauge", "1, with what the gates said of a candidate.")
    families = {
        name: _family(name, kind, text)
        for kind, texts in (("gauge", _GAUGES), ("counter", _COUNTERS))
        for name, text in texts.items()
    }
    during = _family(
        "eval_metric",
        "gauge",
        "Metric on the evaluation rows, of the last evaluation while training.",
    )
    after = _family(
        "evaluation",
        "gauge",
        "Metric of the base and of the tuned model on the same rows, once both are measured.",
    )
    for run in runs:
        namespace, name, kind, pool = (escaped(it) for it in run.labels)
        kind, run_name = f'kind="{kind}"', f'name="{name}",namespace="{namespace}"'
        pool = f'pool="{pool}"'
        told = {"state": run.phase, "stage": run.stage, "reason": run.reason}
        for word, said in told.items():
            if said is not None:
                ends = ",".join(sorted((pool, f'{_WORDS[word][0]}="{escaped(said)}"')))
                words[word].add(f"{kind},{run_name},{ends}", 1.0)
        labels = f"{kind},{run_name},{pool}"
        for value_name, value in run.values.items():
            families[value_name].add(labels, value)
        # The one label that is no identity is the metric's name: of a fixed list, or a script's.
        for metric, value in _named(run.eval_metrics):
            during.add(f'{kind},metric="{metric}",{run_name},{pool}', value)
        for model, metrics in run.evaluation.items():
            for metric, value in _named(metrics):
                after.add(f'{kind},metric="{metric}",model="{model}",{run_name},{pool}', value)
        for it in run.candidates:
            precision = f'{kind},{run_name},{pool},precision="{escaped(it.precision)}"'
            for value_name, value in it.values.items():
                candidates[value_name].add(precision, value)
            if it.verdict is not None:
                verdict.add(f'{precision},verdict="{escaped(it.verdict)}"', 1.0)
    all_families = (*words.values(), *families.values(), during, after)
    all_families = (*all_families, *candidates.values(), verdict)
    return "".join(f"{line}\n" for it in all_families for line in it.lines).encode(errors="replace")


def _family(name: str, kind: str, text: str) -> Family:
    return Family(f"luthier_run_{name}" + ("_total" if kind == "counter" else ""), kind, text)


def _number(value: float) -> str:
    """As Prometheus writes it: a run that has diverged has the loss NaN."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def escaped(text: str) -> str:
    """As the value of a label."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _named(metrics: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Those with a metric's name, and not too many: code of a user's may send anything."""
    named = (it for it in sorted(metrics.items()) if is_metric(it[0].removeprefix("eval_")))
    return islice(named, MOST_METRICS)
