"""The operator as a process of this machine, and what it takes of it."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from luthier_cluster import processes

SYSTEM = "luthier-system"  # where the chart would install it
TICKS = os.sysconf("SC_CLK_TCK")


class OperatorProcess:
    """`python -m luthier_operator` against one API server. `profile`: where cProfile's figures of
    its main thread, which is the event loop's, are written when it ends."""

    def __init__(
        self, name: str, kubeconfig: Path, folder: Path, profile: Path | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._kubeconfig = kubeconfig
        self._profile = profile
        self._process: subprocess.Popen[bytes] | None = None
        self.metrics_port, self.health_port, self.progress_port = _free_ports(3)

    def start(self) -> None:
        """Start it; it isn't ready yet."""
        module = ["-m", "luthier_operator"]
        if self._profile:
            module = ["-m", "bench.scale.profiled", str(self._profile)]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "HOME": str(self._folder),
            "POD_NAME": self.name,
            "POD_NAMESPACE": SYSTEM,
            "KUBECONFIG": str(self._kubeconfig),
            "LUTHIER_CONFIG": str(self._folder / "luthier.yaml"),
            "LUTHIER_METRICS_PORT": str(self.metrics_port),
            "LUTHIER_HEALTH_PORT": str(self.health_port),
            "LUTHIER_PROGRESS_PORT": str(self.progress_port),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *module], env=environment, stdout=log, stderr=log
            )

    def wait_ready(self, within: float = 120) -> float:
        """Seconds until /readyz says yes. RuntimeError with its log if it ends or doesn't."""
        began = time.monotonic()
        while not self.answers("readyz"):
            if not self.running or time.monotonic() - began > within:
                raise RuntimeError(f"{self.name} isn't ready:\n{processes.tail(self.log, 30)}")
            time.sleep(0.02)
        return time.monotonic() - began

    def answers(self, probe: str) -> bool:
        """Whether /readyz or /healthz says yes."""
        try:
            url = f"http://127.0.0.1:{self.health_port}/{probe}"
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Since its start."""
        return cpu_seconds(self.pid)

    def peak_mib(self) -> float:
        """The most memory that it has had resident."""
        return self._status("VmHWM")

    def resident_mib(self) -> float:
        return self._status("VmRSS")

    def _status(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.M)
        assert found, status
        return int(found[1]) / 1024

    def metric(self, name: str, without: str = "") -> float:
        """The sum of a metric's series, without those whose labels hold `without`."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        series = (line.rsplit(" ", 1) for line in lines if re.match(rf"{name}[ {{]", line))
        return sum(float(value) for labels, value in series if not without or without not in labels)

    def writes(self) -> float:
        """Its writing requests, Events left out."""
        return self.metric("luthier_operator_api_writes_total", without='resource="events"')

    def send(self, number: signal.Signals) -> None:
        """Signal it, and don't wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Signal it and wait; seconds that it took. One that has ended is left alone."""
        began = time.monotonic()
        if self._process is not None and self.running:
            self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        return time.monotonic() - began

    def __enter__(self) -> "OperatorProcess":
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def cpu_seconds(pid: int) -> float:
    """Of user and system, of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that the system gives to whoever asks for any."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(26_000, 32_000)  # noqa: S311 - nothing is a secret
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
    return found
