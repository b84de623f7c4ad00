"""Two operators, of which the one that leads is ended: how long until the other leads."""

import re
import signal
import time
from dataclasses import dataclass, field

from bench.figures import Rows, figure
from bench.scale.client import FirstSeen, Watch
from bench.scale.fleet import FINE_TUNE_JOBS, JOBS, LEASES, NAME_LABEL, Fleet, fine_tune_job
from bench.scale.operator import OperatorProcess

SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}


@dataclass
class TakeOver:
    """Seconds from the signal until the other holds the Lease, and until a resource that was
    created right after the signal has its Job; by the signal."""

    leads: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SIGNALS})
    acts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SIGNALS})

    def rows(self) -> Rows:
        found = []
        for name in SIGNALS:
            title = f"take-over after {name}"
            found.append((f"{title}: the other leads", figure(self.leads[name], "s", 2)))
            found.append((f"{title}: a new resource's Job", figure(self.acts[name], "s", 2)))
        return found


def measure(fleet: Fleet, rounds: int = 3) -> TakeOver:
    """Each signal so many times, in turn. TimeoutError where nobody takes the Lease."""
    found = TakeOver()
    with fleet.operator("operator-0") as first, fleet.operator("operator-1") as second:
        for number in range(rounds):
            for name, sign in SIGNALS.items():
                leader, other = _sides(fleet, first, second)
                held, acted = _round(fleet, leader, other, sign, f"{name.lower()}-{number}")
                found.leads[name].append(held)
                found.acts[name].append(acted)
                leader.end()
                leader.start()
                leader.wait_ready()
    fleet.clear()
    return found


def _sides(
    fleet: Fleet, first: OperatorProcess, second: OperatorProcess
) -> tuple[OperatorProcess, OperatorProcess]:
    """Who leads, and who doesn't."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        holder = str(fleet.client.get(f"{LEASES}/luthier")["spec"].get("holderIdentity", ""))
        for leader, other in ((first, second), (second, first)):
            if holder.startswith(f"{leader.name}_"):
                return leader, other
        time.sleep(0.2)
    raise TimeoutError("nobody has taken the Lease for 60 s")


def _round(
    fleet: Fleet,
    leader: OperatorProcess,
    other: OperatorProcess,
    sign: signal.Signals,
    name: str,
) -> tuple[float, float]:
    job = FirstSeen(NAME_LABEL)
    holder = re.compile(f'"holderIdentity":"{other.name}_'.encode())
    led: list[float] = []

    def seen(line: bytes, when: float) -> None:
        if holder.search(line):
            led.append(when)

    with Watch(fleet.client, LEASES, seen), Watch(fleet.client, JOBS, job):
        began = time.monotonic()
        leader.send(sign)
        fleet.client.create(FINE_TUNE_JOBS, fine_tune_job(name))
        job.wait([name], within=60)
    return led[0] - began, job.at[name] - began
