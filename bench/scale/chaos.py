"""Resources that come all the time, and operator replicas that are killed at random."""

import json
import random
import re
import signal
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Rows
from bench.scale.client import Watch
from bench.scale.fleet import FINE_TUNE_JOBS, JOBS, PODS, Fleet, fine_tune_job
from bench.scale.operator import OperatorProcess

Json = dict[str, Any]
PAUSES = (5.0, 20.0)
# A replica comes back after that many seconds, as a kubelet would bring it.
BACK = 1.0
# After the last kill, all of them have to be Complete within that many seconds.
PATIENCE = 180.0


@dataclass
class Chaos:
    """What went wrong, by resource; `double` are attempts with two pods or two Jobs."""

    count: int
    minutes: float
    replicas: int
    kills: int
    complete: int
    double: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    def rows(self) -> Rows:
        title = f"{self.count} resources in {self.minutes:g} min, {self.replicas} replicas"
        wrong = f"{len(self.double)} duplicates, {len(self.lost)} lost, {len(self.stuck)} stuck"
        told = ", ".join([*self.double, *self.lost, *self.stuck][:5])
        return [
            (
                f"chaos: {title}, {self.kills} kills",
                f"{self.complete} Complete, {wrong}{': ' if told else ''}{told}",
            )
        ]


class Pods:
    """Every pod that a watch has told of: of which attempt it is."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str, str, str]] = {}  # pod's uid → run's uid, revision, attempt

    def __call__(self, line: bytes, when: float) -> None:  # noqa: ARG002 - a watch tells both
        event = json.loads(line)
        if event["type"] != "ADDED":
            return
        metadata = event["object"]["metadata"]
        labels = metadata.get("labels", {})
        keys = ("luthier.dev/uid", "luthier.dev/revision", "luthier.dev/attempt")
        if keys[0] in labels:
            uid, revision, attempt = (labels[key] for key in keys)
            self.of[metadata["uid"]] = (uid, revision, attempt)


def measure(fleet: Fleet, count: int, minutes: float, replicas: int, seed: int = 0) -> Chaos:
    """One replica at a time is killed by SIGKILL, whichever it is."""
    draw = random.Random(seed)  # noqa: S311 - nothing is a secret
    names = [f"chaos-{number:04}" for number in range(count)]
    operators = [fleet.operator(f"operator-{number}") for number in range(replicas)]
    for operator in operators:
        operator.start()
    for operator in operators:
        operator.wait_ready()
    pods = Pods()
    over = threading.Event()
    author = threading.Thread(target=_create, args=(fleet, names, 60 * minutes, over), daemon=True)
    kills = 0
    try:
        with Watch(fleet.client, PODS, pods):
            author.start()
            ends = time.monotonic() + 60 * minutes
            while (left := ends - time.monotonic()) > 0:
                time.sleep(min(left, draw.uniform(*PAUSES)))
                _kill(draw.choice(operators))
                kills += 1
            author.join(60)
            found = _wait_complete(fleet, names)
            time.sleep(2)
    finally:
        over.set()
        for operator in operators:
            operator.end()
    return _judged(fleet, names, found, pods, Chaos(count, minutes, replicas, kills, 0))


def _create(fleet: Fleet, names: list[str], seconds: float, over: threading.Event) -> None:
    for name in names:
        fleet.client.create(FINE_TUNE_JOBS, fine_tune_job(name))
        if over.wait(seconds / len(names)):
            return


def _kill(operator: OperatorProcess) -> None:
    operator.end(signal.SIGKILL)
    time.sleep(BACK)
    operator.start()


def _wait_complete(fleet: Fleet, names: list[str]) -> dict[str, str]:
    """Phases by name, once all are Complete or the patience is over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        listed = fleet.client.get(FINE_TUNE_JOBS)["items"]
        found = {it["metadata"]["name"]: it.get("status", {}).get("phase", "") for it in listed}
        if all(found.get(name) == "Complete" for name in names) or time.monotonic() > deadline:
            return found
        time.sleep(1)


def _judged(
    fleet: Fleet, names: list[str], phases: dict[str, str], pods: Pods, chaos: Chaos
) -> Chaos:
    """Counted by what the API server has, and by all pods that there have been."""
    listed = fleet.client.get(FINE_TUNE_JOBS)["items"]
    by_uid = {it["metadata"]["uid"]: it["metadata"]["name"] for it in listed}
    per_attempt: dict[tuple[str, str, str], int] = defaultdict(int)
    for attempt in pods.of.values():
        per_attempt[attempt] += 1
    doubled = {by_uid.get(uid, uid) for (uid, _, _), number in per_attempt.items() if number > 1}
    jobs: dict[str, int] = defaultdict(int)
    for job in fleet.client.get(JOBS)["items"]:
        jobs[re.sub(r"-[0-9a-f]{8}$", "", job["metadata"]["name"])] += 1
    chaos.double = sorted(doubled | {name for name, number in jobs.items() if number > 1})
    chaos.lost = sorted(name for name in names if name not in phases or not jobs[name])
    chaos.stuck = sorted(
        name for name in names if name in phases and jobs[name] and phases[name] != "Complete"
    )
    chaos.complete = sum(phases.get(name) == "Complete" for name in names)
    return chaos
