"""Many resources applied at once → all of them Complete."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Rows
from bench.scale.client import METADATA, Client, FirstSeen, Watch
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
    """`writes` are the API server's, of everybody, a resource; Events left out."""

    what: str
    count: int
    seconds: float
    to_pod: tuple[float, float]  # p50, p99
    writes: float
    by_resource: dict[str, float]
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
    seconds, to_pod, total = _watched(
        fleet.client, names, bodies, FINE_TUNE_JOBS, complete, NAME_LABEL
    )
    time.sleep(2)  # what it still writes is its, too
    own = Own(
        cpu_seconds=operator.cpu_seconds() - cpu,
        writes=(operator.writes() - writes) / count,
        peak_mib=operator.peak_mib(),
    )
    return _burst("FineTuneJobs", count, seconds, to_pod, total, own)


def bare(fleet: Fleet, made: Json, count: int, prefix: str = "bare") -> Burst:
    """Jobs of the same pod, without an operator."""
    names = [f"{prefix}-{number:04}" for number in range(count)]
    bodies = [(JOBS, bare_job(made, name)) for name in names]
    complete = FirstSeen(mark=b'"completionTime"')
    found = _watched(fleet.client, names, bodies, JOBS, complete, JOB_LABEL)
    return _burst("bare Jobs", count, *found)


def _watched(
    client: Client,
    names: Sequence[str],
    bodies: Sequence[tuple[str, Json]],
    path: str,
    complete: FirstSeen,
    label: str,
) -> tuple[float, list[float], dict[str, float]]:
    """Seconds until all are complete, seconds of each until its pod, writes by resource."""
    pods = FirstSeen(label)
    before = client.writes_by_resource()
    with Watch(client, path, complete), Watch(client, PODS, pods, METADATA):
        asked = dict(zip(names, client.at_once(bodies), strict=True))
        complete.wait(names, WITHIN)
    time.sleep(1)
    after = client.writes_by_resource()
    seconds = max(complete.at[name] for name in names) - min(asked.values())
    to_pod = [pods.at[name] - asked[name] for name in names]
    return seconds, to_pod, {name: after[name] - before.get(name, 0) for name in after}


def _burst(
    what: str,
    count: int,
    seconds: float,
    to_pod: list[float],
    writes: dict[str, float],
    own: Own | None = None,
) -> Burst:
    last = sorted(to_pod)[ceil(0.99 * count) - 1]
    each = {name: round(number / count, 2) for name, number in writes.items() if number}
    total = sum(writes.values()) / count
    return Burst(what, count, seconds, (median(to_pod), last), total, each, own)


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
