"""`kubectl apply` a FineTuneJob, and a better model lies in S3."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e import golden
from e2e.golden import NAMESPACE
from e2e.runs import Run, eventually
from prometheus import Prometheus
from rich.console import Console

from luthier_cluster import Cluster
from luthier_demo import content, report

HERE = Path(__file__).parent


@pytest.fixture(
    scope="module",
    params=[golden.EXAMPLE, pytest.param("wordnet", marks=pytest.mark.matrix)],
)
def example(request: pytest.FixtureRequest) -> str:
    """Its name, and that of its dataset and its run."""
    return str(request.param)


@pytest.fixture(scope="module")
def finished(luthier: Cluster, s3: Any, example: str) -> Run:
    """The example, applied as it stands and finished."""
    golden.apply(luthier, example)
    run = Run(luthier, NAMESPACE, example, s3, golden.manifest(example)["spec"])
    run.wait_for_step(1, within=300)
    assert "tcmalloc" in run.log(run.pods()[0]["metadata"]["name"]), "the image's allocator"
    columns = run.kubectl("get", "ftj", run.name).splitlines()
    assert columns[0].split() == [
        "NAME",
        "PHASE",
        "REASON",
        "METHOD",
        "STAGE",
        "PROGRESS",
        "ETA",
        "RESULT",
        "AGE",
    ]
    assert re.search(r"\d+%", columns[1]), columns[1]
    run.wait("Ready", within=800)
    return run


def test_the_tuned_model_is_better(finished: Run, example: str) -> None:
    evaluation = finished.status["evaluation"]
    assert evaluation["split"] == "test"
    rows = (content.dataset(example) / "test.jsonl").read_text().splitlines()
    assert evaluation["examples"] == len(rows) > 100
    assert evaluation["tuned"]["accuracy"] >= evaluation["base"]["accuracy"] + 0.25


def test_status_says_what_happened(finished: Run) -> None:
    status = finished.status
    for condition in ("Complete", "DatasetValid", "CheckpointSaved", "Evaluated", "Ready"):
        assert finished.condition(condition)["status"] == "True", condition
    assert finished.condition("Failed").get("status", "False") == "False"
    assert status["progress"]["step"] == status["progress"]["totalSteps"]
    assert status["usage"]["trainedTokens"] > 0
    assert status["observedGeneration"] == finished.get()["metadata"]["generation"]
    reasons = finished.kubectl(
        "get", "events", "--field-selector", f"involvedObject.name={finished.name}", "-o",
        "jsonpath={.items[*].reason}",
    )  # fmt: skip
    assert {"Created", "Completed"} <= set(reasons.split()), reasons


def test_every_file_is_as_the_manifest_says(finished: Run) -> None:
    uri = finished.status["artifact"]["uri"]
    raw = finished.read(f"{uri}/manifest.json")
    assert hashlib.sha256(raw).hexdigest() == finished.status["artifact"]["manifestSha256"]
    files = json.loads(raw)["files"]
    listed = {name: entry["sha256"] for name, entry in files.items()}
    for name in ("adapter/adapter_model.safetensors", "report/loss.png", "README.md"):
        assert name in listed
    for name, digest in listed.items():
        assert hashlib.sha256(finished.read(f"{uri}/{name}")).hexdigest() == digest, name
    assert not [key for key in finished.objects() if re.search(r"\.(pt|pth|pkl|bin|ckpt)$", key)]


def test_the_adapter_alone_reproduces_the_reported_accuracy(
    finished: Run, example: str, s3: Any, tmp_path: Path
) -> None:
    """With nothing but peft and transformers, in a process that knows no Luthier."""
    uri = finished.status["artifact"]["uri"]
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for key in finished.objects(f"{uri}/adapter/"):
        file = tmp_path / key.removeprefix(f"{prefix}/adapter/")
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(file))
    rows = content.dataset(example) / "test.jsonl"
    template = finished.base_spec["dataset"]["template"]
    done = subprocess.run(
        [sys.executable, HERE / "plain_peft.py", content.model(), tmp_path, rows, template],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    reported = finished.status["evaluation"]["tuned"]["accuracy"]
    # bf16 (of CPUs that are fast at it) against fp32 may turn a few rows.
    assert float(done.stdout) == pytest.approx(reported, abs=0.0251)


def test_applying_it_again_changes_nothing(finished: Run, example: str) -> None:
    before = finished.get()
    said = finished.kubectl("apply", "-f", str(golden.file(example)))
    assert "unchanged" in said
    after = finished.get()
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"]["revision"] == before["status"]["revision"]
    assert len(finished.jobs()) == 1


def test_the_demo_report_can_be_shown(finished: Run, s3: Any, tmp_path: Path) -> None:
    console = Console(record=True, width=160)
    console.print(report.report(s3, finished.get(), tmp_path, ["next"]))
    text = console.export_text()
    assert "accuracy" in text
    assert finished.status["artifact"]["uri"] in text
    curve = tmp_path / "report" / "loss.png"
    assert str(curve) in text
    assert curve.read_bytes().startswith(b"\x89PNG")


def test_prometheus_scrapes_run_and_operator(
    finished: Run, luthier: Cluster, tmp_path: Path
) -> None:
    """A real Prometheus, in the cluster's network, sees the ended run and the operator."""
    service = luthier.kubectl(
        "-n", "luthier-system", "get", "endpoints", "-o",
        "jsonpath={.items[*].subsets[*].addresses[*].ip}",
    ).stdout  # fmt: skip
    # Both replicas, of which one has series of runs.
    targets = [f"{address}:8080" for address in service.split()]
    assert len(targets) == 2
    within = ("nsenter", f"--net=/run/netns/{luthier.layout.netns}")
    address = f"{luthier.address}:9190"
    with Prometheus(targets, tmp_path, address=address, within=within) as prometheus:
        labels = f'namespace="{NAMESPACE}",name="{finished.name}"'
        step = eventually(
            "the run's series",
            lambda: prometheus.value(f"luthier_run_step{{{labels}}}"),
            within=40,
        )
        assert step == finished.status["progress"]["step"]
        for name in ("luthier_run_loss", "luthier_run_tokens_per_second"):
            assert prometheus.value(f"{name}{{{labels}}}"), name
        assert prometheus.value("sum(luthier_operator_api_writes_total)")
        assert prometheus.value("sum(luthier_operator_work_duration_seconds_count)")
