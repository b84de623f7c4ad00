"""A real MLflow server, and a gate before it that can be shut, and asks for a password."""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ports import ReservedPort

from luthier_cluster import environments

_START_SECONDS = 240  # on a busy machine: what it imports is large


class MlflowServer:
    """MLflow on the loopback interface, with SQLite."""

    def __init__(self, folder: Path) -> None:
        self._port = ReservedPort()
        self.uri = f"http://127.0.0.1:{self._port.number}"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(environments.ensure("mlflow")),
                    *("-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(self._port.number)),
                    *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
                    *("--artifacts-destination", str(folder / "artifacts")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder),
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None, self._log.read_text()[-2000:]
                assert time.monotonic() < deadline, self._log.read_text()[-2000:]
                time.sleep(0.2)

    def stop(self) -> None:
        os.killpg(self._process.pid, 9)
        self._process.wait(60)

    def ask(self, call: str, document: dict[str, Any]) -> Any:
        """A call of its API; a GET where it has a query."""
        body = None if "?" in call else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/{call}", data=body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def runs(self, experiment: str) -> list["Run"]:
        """All runs of an experiment."""
        found = self.ask(f"experiments/get-by-name?experiment_name={experiment}", {})
        ids = [found["experiment"]["experiment_id"]]
        runs = self.ask("runs/search", {"experiment_ids": ids}).get("runs", [])
        return [Run(self, it) for it in runs]

    def run(self, experiment: str) -> "Run":
        """The only one."""
        [found] = self.runs(experiment)
        return found


class Run:
    """A run, as the server has it."""

    def __init__(self, server: MlflowServer, document: Any) -> None:
        self._server = server
        self.info, data = document["info"], document["data"]
        self.id = self.info["run_id"]
        self.datasets = document["inputs"].get("dataset_inputs", [])
        self.tags = {it["key"]: it["value"] for it in data.get("tags", [])}
        self.params = {it["key"]: it["value"] for it in data.get("params", [])}
        self.values = {it["key"]: it["value"] for it in data.get("metrics", [])}

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric, each as often as the server has it."""
        query = f"run_id={self.id}&metric_key={name}&max_results=10000"
        found = self._server.ask(f"metrics/get-history?{query}", {}).get("metrics", [])
        return sorted((it["step"], it["value"]) for it in found)


class Gate:
    """Hands on what it is asked to a server. `open`: else it answers 503; `authorization`: what
    who asks must show, else 401."""

    def __init__(self, uri: str) -> None:
        self.open = True
        self.authorization: str | None = None
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._hand_on(None)

            def do_POST(self) -> None:
                self._hand_on(self.rfile.read(int(self.headers["Content-Length"])))

            def _hand_on(self, body: bytes | None) -> None:
                outer.asked += 1
                wanted = outer.authorization
                if not outer.open:
                    self._answer(503, b"")
                elif wanted and self.headers["Authorization"] != wanted:
                    self._answer(401, f"no: {self.headers['Authorization']}".encode())
                else:
                    request = urllib.request.Request(f"{uri}{self.path}", data=body)
                    request.add_header("Content-Type", "application/json")
                    try:
                        with urllib.request.urlopen(request, timeout=60) as answer:
                            self._answer(answer.status, answer.read())
                    except urllib.error.HTTPError as error:
                        self._answer(error.code, error.read())

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def wandb_packages() -> Path:
    """The folder that W&B's client is installed in."""
    [found] = environments.ensure("wandb").parents[1].glob("lib/python3.*/site-packages")
    return found


def read_wandb(file: Path) -> Any:
    """A .wandb file, by W&B's own definitions."""
    reader = Path(__file__).with_name("wandb_reader.py")
    command = [str(environments.ensure("wandb")), str(reader), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)
