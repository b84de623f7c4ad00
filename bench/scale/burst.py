"""Many resources applied at once → all of them Complete."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Rows
from bench.scale.client import METADATA, FirstSeen, Watch
from bench.scale.fleet import (
    FINE_TUNE_JOBS,
    JOB_LABEL,
    JOBS,
    NAME_LABEL,
    PODS,
    Fleet,
    bare_job,
    fine_tune_job,
)
from bench.scale.operator import OperatorProcess

Json = dict[str, Any]
WITHIN = 600.0


@dataclass(frozen=True)
class Burst:
    """`writes` are the API server's, of everybody, a resource; Events left out. `cpu`: milliseconds
    of each program of the cluster, a resource."""

    what: str
    count: int
    seconds: float
    to_pod: tuple[float, float]  # p50, p99
    writes: float
    by_resource: dict[str, float]
    cpu: dict[str, float]
    own: "Own | None" = None

    def rows(self) -> Rows:
        title = f"burst of {self.count} {self.what}"
        found = [
            (f"{title}: all Complete", f"{self.count / self.seconds:.1f}/s"),
            (
                f"{title}: created → pod, p50 and p99",
                f"{self.to_pod[0]:.2f} s, {self.to_pod[1]:.2f} s",
            ),
            (f"{title}: API writes each, of everybody", f"{self.writes:.1f}"),
            (
                f"{title}: CPU of the cluster, each",
                ", ".join(f"{name} {amount:.0f} ms" for name, amount in self.cpu.items()),
            ),
        ]
        if self.own:
            found += [
                (f"{title}: API writes each, the operator's", f"{self.own.writes:.1f}"),
                (
                    f"{title}: CPU of the operator, each",
                    f"{1000 * self.own.cpu_seconds / self.count:.1f} ms "
                    f"({self.own.cpu_seconds:.1f} s)",
                ),
                (f"{title}: peak memory of the operator", f"{self.own.peak_mib:.0f} MiB"),
            ]
        return found


@dataclass(frozen=True)
class Own:
    """What the operator took."""

    cpu_seconds: float
    writes: float
    peak_mib: float


def ours(fleet: Fleet, operator: OperatorProcess, count: int, prefix: str = "burst") -> Burst:
    """FineTuneJobs, with this operator."""
    names = [f"{prefix}-{number:04}" for number in range(count)]
    cpu, writes = operator.cpu_seconds(), operator.writes()
    bodies = [(FINE_TUNE_JOBS, fine_tune_job(name)) for name in names]
    complete = FirstSeen(mark=b'"phase":"Complete"')
    took = _watched(fleet, names, bodies, FINE_TUNE_JOBS, complete, NAME_LABEL)
    time.sleep(2)  # what it still writes is its, too
    own = Own(
        cpu_seconds=operator.cpu_seconds() - cpu,
        writes=(operator.writes() - writes) / count,
        peak_mib=operator.peak_mib(),
    )
    return _burst("FineTuneJobs", count, took, own)


def bare(fleet: Fleet, made: Json, count: int, prefix: str = "bare") -> Burst:
    """Jobs of the same pod, without an operator."""
    names = [f"{prefix}-{number:04}" for number in range(count)]
    bodies = [(JOBS, bare_job(made, name)) for name in names]
    complete = FirstSeen(mark=b'"completionTime"')
    return _burst("bare Jobs", count, _watched(fleet, names, bodies, JOBS, complete, JOB_LABEL))


@dataclass(frozen=True)
class _Took:
    """Seconds until all are complete, and of each until its pod; writes by resource, CPU seconds by
    program."""

    seconds: float
    to_pod: list[float]
    writes: dict[str, float]
    cpu: dict[str, float]


def _watched(
    fleet: Fleet,
    names: Sequence[str],
    bodies: Sequence[tuple[str, Json]],
    path: str,
    complete: FirstSeen,
    label: str,
) -> _Took:
    client, pods = fleet.client, FirstSeen(label)
    before, cpu = client.writes_by_resource(), fleet.cpu_seconds()
    with Watch(client, path, complete), Watch(client, PODS, pods, METADATA):
        asked = dict(zip(names, client.at_once(bodies), strict=True))
        complete.wait(names, WITHIN)
    time.sleep(1)
    after, cpu_after = client.writes_by_resource(), fleet.cpu_seconds()
    seconds = max(complete.at[name] for name in names) - min(asked.values())
    to_pod = [pods.at[name] - asked[name] for name in names]
    return _Took(
        seconds,
        to_pod,
        {name: after[name] - before.get(name, 0) for name in after},
        {name: cpu_after[name] - cpu[name] for name in cpu},
    )


def _burst(what: str, count: int, took: _Took, own: Own | None = None) -> Burst:
    last = sorted(took.to_pod)[ceil(0.99 * count) - 1]
    each = {name: round(number / count, 2) for name, number in took.writes.items() if number}
    total = sum(took.writes.values()) / count
    cpu = {name: 1000 * seconds / count for name, seconds in took.cpu.items()}
    return Burst(what, count, took.seconds, (median(took.to_pod), last), total, each, cpu, own)


def made_job(fleet: Fleet) -> Json:
    """A Job that the operator made."""
    job: Json = fleet.client.get(f"{JOBS}?limit=1&labelSelector={NAME_LABEL}")["items"][0]
    return job


def measure(fleet: Fleet, count: int, profile: Path | None = None) -> list[Burst]:
    """Ours and bare Jobs, with an operator that has just started and had one run."""
    with fleet.operator(profile=profile) as operator:
        ours(fleet, operator, 1, "warm")
        job = made_job(fleet)
        mine = ours(fleet, operator, count)
    fleet.clear()
    other = bare(fleet, job, count)
    fleet.clear()
    return [mine, other]
