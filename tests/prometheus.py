"""A real Prometheus for the length of a test."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier_cluster import packages


class Prometheus:
    """Scrapes its targets every second. `within`: the command that it runs behind, as nsenter."""

    def __init__(
        self,
        targets: Sequence[str],
        folder: Path,
        *,
        address: str,
        within: Sequence[str] = (),
        rules: Path | None = None,
    ) -> None:
        packages.ensure_programs({"prometheus": "prometheus"})
        self._address, self._within, self._folder = address, within, folder
        scraped = {
            "job_name": "luthier",
            "honor_labels": True,
            "static_configs": [{"targets": list(targets)}],
        }
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [scraped],
            "rule_files": [str(rules)] if rules else [],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))

    def __enter__(self) -> "Prometheus":
        self._log = (self._folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                *self._within, "prometheus",
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
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

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The results of a PromQL query. AssertionError with Prometheus' words where it's none."""
        try:
            answer = json.loads(self._get(f"/api/v1/query?query={urllib.parse.quote(expression)}"))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None
        results: list[dict[str, Any]] = answer["data"]["result"]
        return results

    def value(self, expression: str) -> float | None:
        """The first result of a PromQL query, None when there is none."""
        results = self.query(expression)
        return float(results[0]["value"][1]) if results else None

    def labels(self, label: str, series: str | None = None) -> set[str]:
        """The values that a label has, of all series or of those that a selector names."""
        match = f"?match[]={urllib.parse.quote(series)}" if series else ""
        return set(json.loads(self._get(f"/api/v1/label/{label}/values{match}"))["data"])

    def firing(self) -> set[str]:
        """The alerts that fire."""
        alerts = json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]
        return {it["labels"]["alertname"] for it in alerts if it["state"] == "firing"}

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self._address}{path}", timeout=5) as response:
            body: bytes = response.read()
        return body
