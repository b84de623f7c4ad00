"""A real Prometheus for the length of a test, beside the cluster's components."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType

from luthier_cluster import Cluster

PORT = 9190


class Prometheus:
    """Runs in the cluster's network namespace and scrapes its targets every second."""

    def __init__(self, cluster: Cluster, targets: list[str], folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "luthier", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))

    def __enter__(self) -> "Prometheus":
        self._log = (self._folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                "nsenter", f"--net=/run/netns/{self._cluster.layout.netns}", "prometheus",
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._cluster.address}:{PORT}",
            ],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                self._get("/-/ready")
                return self
            except OSError:
                assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
                assert time.monotonic() < deadline, "Prometheus isn't ready after 30 s"
                time.sleep(0.3)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(15)
        self._log.close()

    def value(self, query: str) -> float | None:
        """The first result of a PromQL query, None when there is none."""
        answer = json.loads(self._get(f"/api/v1/query?query={urllib.parse.quote(query)}"))
        results = answer["data"]["result"]
        return float(results[0]["value"][1]) if results else None

    def _get(self, path: str) -> bytes:
        url = f"http://{self._cluster.address}:{PORT}{path}"
        with urllib.request.urlopen(url, timeout=5) as response:
            body: bytes = response.read()
        return body
