"""The operator, as a real process."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from integration.kube import Kube
from ports import ReservedPort

from luthier_api.usage import ledger_name

ROOT = Path(__file__).parents[2]

LEASE = ("luthier-system", "luthier")

CONFIG = """
defaultPool: cpu
pools:
- name: cpu
  image: trainer:test
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 128Mi}}
  terminationGracePeriodSeconds: 5
  maxNodes: 4
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


def make_lease(kube: Kube, lease: tuple[str, str] = LEASE) -> None:
    """As the chart makes it, with its namespace."""
    namespace, name = lease
    kube.create("namespaces", None, {"metadata": {"name": namespace}})
    kube.create("leases", namespace, {"metadata": {"name": name}})


def make_ledgers(kube: Kube, release: tuple[str, str] = LEASE) -> None:
    """As the chart makes them: a ConfigMap for each month of a year."""
    namespace, name = release
    for number in range(1, 13):
        ledger = ledger_name(name, f"{number:02}")
        kube.create("configmaps", namespace, {"metadata": {"name": ledger}})


class OperatorProcess:
    """`python -m luthier_operator` against one API server."""

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *,
        namespaces: str = "",
        selector: str = "",
        config: str = CONFIG,
        lease: tuple[str, str] = LEASE,
        times: tuple[int, int, int] = (15, 10, 2),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._namespaces, self._selector = namespaces, selector
        self._lease, self._times, self._environment = lease, times, environment
        self._pod = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = [ReservedPort() for _ in range(3)]
        self.metrics_port, self.health_port, self.progress_port = (it.number for it in self._ports)
        self.log = folder / "operator.log"
        self.progress_url = f"http://127.0.0.1:{self.progress_port}"
        (folder / "luthier.yaml").write_text(config + f"progressUrl: {self.progress_url}\n")

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it is ready. One that was killed leaves its Lease to run out,
        which takes its time: that is for test_replicas.py to wait for."""
        if self._pod:
            self._free()
        self._pod = f"operator-{self.progress_port}"
        environment = {
            # The operator of these sources, wherever this Python finds them.
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "HOME": str(self._folder),
            "KUBECONFIG": str(self._kubeconfig),
            "LUTHIER_CONFIG": str(self._folder / "luthier.yaml"),
            "WATCH_NAMESPACES": self._namespaces,
            "WATCH_NAMESPACE_SELECTOR": self._selector,
            "LUTHIER_METRICS_PORT": str(self.metrics_port),
            "LUTHIER_HEALTH_PORT": str(self.health_port),
            "LUTHIER_PROGRESS_PORT": str(self.progress_port),
            "POD_NAMESPACE": self._lease[0],
            "POD_NAME": self._pod,
            "LUTHIER_LEASE_NAME": self._lease[1],
            "LUTHIER_LEASE_SECONDS": str(self._times[0]),
            "LUTHIER_RENEW_SECONDS": str(self._times[1]),
            "LUTHIER_RETRY_SECONDS": str(self._times[2]),
            **self._environment,
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

    def _free(self) -> None:
        kube, (namespace, name) = Kube(str(self._kubeconfig)), self._lease
        lease = kube.get("leases", namespace, name)
        spec = lease.get("spec") or {}
        if (spec.get("holderIdentity") or "").startswith(f"{self._pod}_"):
            freed = lease | {"spec": spec | {"holderIdentity": ""}}
            kube.request("PUT", kube.path("leases", namespace, name), freed)

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
    def leads(self) -> bool:
        """Whether this replica leads, by its own word."""
        return self.running and self.metrics()["luthier_operator_leader"] == 1

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float = 30.0) -> int:
        """Wait until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=seconds)

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
