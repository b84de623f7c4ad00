"""Latencies of a run on a full local cluster, and the API writes that it costs.

For each of N runs of the tiny model, one at a time on an idle cluster: `kubectl apply` is about
to be sent → Job seen → pod seen running → first training step logged. Job and pod are seen by a
watch; the step is the kubelet's timestamp of its log line. Writes are counted by the operator.
"""

import json
import re
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import datetime

from bench.local import Bench


@dataclass(frozen=True)
class Latency:
    """Seconds."""

    apply_to_job: float
    apply_to_pod: float
    pod_to_first_step: float


class Watch:
    """When (wall clock) a run's object was first seen, and first seen running."""

    def __init__(self, bench: Bench, kind: str) -> None:
        self._process = subprocess.Popen(
            [*bench.kubectl, "get", kind, "-o", "json", "--watch"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.created: dict[str, float] = {}
        self.running: dict[str, float] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        assert self._process.stdout
        decoder, text = json.JSONDecoder(), ""
        for line in self._process.stdout:
            now = time.time()
            text += line
            if line != "}\n":  # kubectl ends each object with a brace at the line's start
                continue
            seen, _ = decoder.raw_decode(text.lstrip())
            text = ""
            run = seen["metadata"].get("labels", {}).get("luthier.dev/name", "")
            self.created.setdefault(run, now)
            if seen.get("status", {}).get("phase") == "Running":
                self.running.setdefault(run, now)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def first_step(bench: Bench, name: str) -> float:
    """Wall-clock time of the first logged step."""
    words = ["logs", "-l", f"luthier.dev/name={name}", "--timestamps", "--tail=-1"]
    log = subprocess.run(
        [*bench.kubectl, *words], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    for line in log.splitlines():
        stamp, _, text = line.partition(" ")
        if re.search(r"\bstep +1/", text):
            return datetime.fromisoformat(stamp).timestamp()
    raise RuntimeError(f"{name}: no first step in its log:\n{log}")


def measure(bench: Bench, count: int) -> tuple[list[Latency], float]:
    """`count` runs; returns their latencies and the API writes per run."""
    jobs, pods = Watch(bench, "jobs"), Watch(bench, "pods")
    latencies = []
    writes = bench.api_writes()
    try:
        for number in range(count):
            name = f"latency-{number}"
            applied = time.time()
            bench.apply(name, {"maxSteps": 30, "logEverySteps": 1, "saveEverySteps": 100})
            bench.wait_ready(name)
            latencies.append(
                Latency(
                    jobs.created[name] - applied,
                    pods.running[name] - applied,
                    first_step(bench, name) - pods.running[name],
                )
            )
    finally:
        jobs.close()
        pods.close()
    return latencies, (bench.api_writes() - writes) / count


def rows(bench: Bench, count: int = 5) -> list[tuple[str, str]]:
    """(what, figure) for the table."""
    latencies, writes = measure(bench, count)

    def figure(field: str) -> str:
        values = sorted(getattr(latency, field) for latency in latencies)
        return f"{statistics.median(values):.2f} s ({values[0]:.2f} to {values[-1]:.2f}, n={count})"

    return [
        ("apply → Job created", figure("apply_to_job")),
        ("apply → pod running", figure("apply_to_pod")),
        ("pod running → first training step", figure("pod_to_first_step")),
        ("API writes of the operator per run", f"{writes:.1f}"),
    ]
