"""The operator, as a real process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]

CONFIG = """
defaultPool: cpu
pools:
- name: cpu
  image: trainer:test
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 128Mi}}
  terminationGracePeriodSeconds: 5
  fileRoots: [/data]
- name: elsewhere
  image: trainer:test
  namespaces: [nobody]
- name: tight
  image: trainer:test
  nodeSelector: {disk: none-such}
  resources: {requests: {cpu: 100m}, limits: {}}
storage: {endpoint: "http://s3.invalid", region: us-east-1}
hub: {endpoint: "http://hub.invalid"}
consent: {customCode: [trusted]}
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class OperatorProcess:
    """`python -m luthier_operator` against one API server."""

    def __init__(
        self, kubeconfig: Path, folder: Path, *, namespaces: str = "", config: str = CONFIG
    ) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._namespaces = namespaces
        self._process: subprocess.Popen[bytes] | None = None
        self.metrics_port, self.health_port, self.progress_port = (free_port() for _ in range(3))
        self.log = folder / "operator.log"
        self.progress_url = f"http://127.0.0.1:{self.progress_port}"
        (folder / "luthier.yaml").write_text(config + f"progressUrl: {self.progress_url}\n")

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it is ready."""
        environment = {
            # The operator of these sources, wherever this Python finds them.
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "HOME": str(self._folder),
            "KUBECONFIG": str(self._kubeconfig),
            "LUTHIER_CONFIG": str(self._folder / "luthier.yaml"),
            "WATCH_NAMESPACES": self._namespaces,
            "LUTHIER_METRICS_PORT": str(self.metrics_port),
            "LUTHIER_HEALTH_PORT": str(self.health_port),
            "LUTHIER_PROGRESS_PORT": str(self.progress_port),
            "LUTHIER_RELIST_SECONDS": "15",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "luthier_operator"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait for /readyz. A step counts a second at most, as in `eventually`."""
        left = seconds
        while self.probe("readyz") != 200:
            began = time.monotonic()
            code = self._process.poll() if self._process else 1
            if code is not None or left <= 0:
                raise AssertionError(f"not ready (exit code {code}):\n{self.log.read_text()}")
            time.sleep(0.05)
            left -= min(1.0, time.monotonic() - began)

    def probe(self, name: str) -> int:
        """The code of /healthz or /readyz; 0 without an answer."""
        try:
            url = f"http://127.0.0.1:{self.health_port}/{name}"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> float:
        """End it; seconds that it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(sig)
        self._process.wait(timeout=30)
        return time.monotonic() - began

    def __enter__(self) -> "OperatorProcess":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.kill(signal.SIGTERM)
