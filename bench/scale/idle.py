"""One resource at a time where nothing else happens: created → pod, beside a bare Job."""

import time
from dataclasses import dataclass

from bench.figures import Rows, figure, ratio
from bench.scale.burst import made_job, ours
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

PAUSE = 1.5  # a pod runs a second


@dataclass(frozen=True)
class Idle:
    """Milliseconds."""

    ours: list[float]
    bare: list[float]

    def rows(self) -> Rows:
        return [
            ("idle: FineTuneJob created → pod", figure(self.ours, "ms")),
            ("idle: bare Job created → pod", figure(self.bare, "ms")),
            ("idle: FineTuneJob against the bare Job", ratio(self.ours, self.bare)),
        ]


def measure(fleet: Fleet, count: int = 30) -> Idle:
    """In turn."""
    with fleet.operator() as operator:
        ours(fleet, operator, 1, "warm")
        job = made_job(fleet)
        mine, other = [], []
        for number in range(count):
            name = f"single-{number:02}"
            mine.append(_to_pod(fleet, FINE_TUNE_JOBS, fine_tune_job(name), NAME_LABEL))
            other.append(_to_pod(fleet, JOBS, bare_job(job, f"{name}-bare"), JOB_LABEL))
    fleet.clear()
    return Idle(mine, other)


def _to_pod(fleet: Fleet, path: str, body: dict[str, object], label: str) -> float:
    pods = FirstSeen(label)
    name = str(body["metadata"]["name"])  # type: ignore[index]
    with Watch(fleet.client, PODS, pods, METADATA):
        time.sleep(0.2)
        asked = time.monotonic()
        fleet.client.create(path, body)
        pods.wait([name], 60)
    time.sleep(PAUSE)
    return 1000 * (pods.at[name] - asked)
