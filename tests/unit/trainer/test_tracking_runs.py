"""Runs that tell trackers of themselves, with all that can go wrong beside a training."""

import hashlib
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, TrainerProcess, folder_of
from unit.trainer.test_search import search_spec
from unit.trainer.tracking_support import MlflowServer, read_wandb, wandb_packages

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_api.tracking import Tracking
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.search.run import SearchRun
from luthier_trainer.tracking.about import about

Start = Callable[..., TrainerProcess]
LONG = {"maxSteps": 160, "saveEverySteps": 10, "evalEverySteps": 20}
HANGS = "time.sleep(1000)"
SECRET = "5ec0" * 10


def spec_of(make_spec: MakeSpec, tracking: dict[str, Any], **fields: Any) -> RunSpec:
    spec: RunSpec = make_spec(dataset={"evalFraction": 0.2}, **fields)
    return spec.model_copy(update={"tracking": Tracking.model_validate(tracking)})


def journal_of(spec: RunSpec) -> dict[int, dict[str, float]]:
    """Values by step."""
    found: dict[int, dict[str, float]] = {}
    for line in (folder_of(spec) / "report/metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        found.setdefault(entry["step"], {}).update(entry)
    return found


@pytest.mark.timeout(900)
def test_a_run_that_is_stopped_and_killed_is_one_run_there(
    start_warm_trainer: Start,
    make_spec: MakeSpec,
    mlflow: MlflowServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUTHIER_WANDB", str(wandb_packages()))
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    spec = spec_of(
        make_spec,
        {
            "mlflow": {"uri": mlflow.uri, "experiment": "stopped and killed"},
            "wandb": {
                "mode": "Offline",
                "project": "colours",
                "apiKeySecretRef": {"name": "wandb", "key": "key"},
            },
        },
        training=LONG,
        run={"name": "stopped"},
    )
    first = start_warm_trainer(spec)
    first.wait_for("step 12/160")
    first.signal(signal.SIGTERM)
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    second = start_warm_trainer(spec)
    second.wait_for("step 60/160")
    second.signal(signal.SIGKILL)
    second.wait()
    last = start_warm_trainer(spec)
    assert last.wait() == ExitCode.SUCCEEDED, last.log.read_text()

    journal, folder = journal_of(spec), folder_of(spec)
    losses = [(step, it["loss"]) for step, it in journal.items()]
    evaluation = json.loads((folder / "report/evaluation.json").read_text())
    manifest = (folder / "manifest.json").read_bytes()
    digest = json.loads(manifest)["datasetDigest"]

    run = mlflow.run("stopped%20and%20killed")
    assert run.info["status"] == "FINISHED"
    assert run.curve("train/loss") == losses
    assert run.curve("train/learning_rate") == [
        (s, it["learning_rate"]) for s, it in journal.items()
    ]
    assert run.curve("eval/loss") == [
        (s, it["eval_loss"]) for s, it in journal.items() if s % 20 == 0
    ]
    assert run.values["base/accuracy"] == evaluation["base"]["accuracy"]
    assert run.values["tuned/accuracy"] == evaluation["tuned"]["accuracy"]
    change = evaluation["change"]["accuracy"]
    assert run.values["change/accuracy_low"] == change["low"]
    assert run.values["change/accuracy_high"] == change["high"]
    assert run.params["training.learningRate"] == "0.03"
    assert run.params["resolved.precision"] == "fp32"
    assert run.tags["luthier.artifact.uri"] == spec.output
    assert run.tags["luthier.artifact.manifestSha256"] == hashlib.sha256(manifest).hexdigest()
    assert run.tags["luthier.base.uri"] == spec.fine_tuning.model.uri
    assert run.tags["luthier.dataset.digest"] == digest
    [dataset] = run.datasets
    assert digest.removeprefix("sha256:").startswith(dataset["dataset"]["digest"])
    told = {it["tracker"]: it for it in last.result()["tracking"]}
    assert told["MLflow"]["url"].endswith(f"/runs/{run.id}")
    assert not any("problem" in it for it in told.values())

    key = about(spec, None).key
    found = read_wandb(folder / f"report/wandb/run-{key}.wandb")
    assert found["run"] == {
        "id": key,
        "project": "colours",
        "name": "stopped/r1-00000000",
        "group": "stopped",
    }
    assert [(it["_step"], it["train/loss"]) for it in found["history"]] == losses
    assert found["config"]["training"]["learningRate"] == 0.03
    assert found["config"]["luthier"]["artifact.uri"] == spec.output
    assert found["summary"]["tuned/accuracy"] == evaluation["tuned"]["accuracy"]
    assert found["exit"] == 0
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    for pod in (first, second, last):
        assert SECRET not in pod.log.read_text()


def test_trackers_that_hang_or_are_not_there_cost_a_training_nothing(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LUTHIER_WANDB", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:  # connects, and never answers
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        spec = spec_of(make_spec, {"mlflow": {"uri": uri}, "wandb": {"mode": "Offline"}})
        run = Run(spec)
        result = run.execute()
    assert result.outcome == "Succeeded"
    assert result.artifact
    told = {it.tracker: it.problem or "" for it in result.tracking}
    assert told["MLflow"] == f"{uri}: no answer in time"
    assert "has no client of W&B: use the image trainer-wandb" in told["WandB"]
    assert run.state.reporter.report.tracking == result.tracking
    log = capfd.readouterr().err
    assert log.count("warning: MLflow") == log.count("warning: WandB") == 1


def test_a_run_that_fails_says_so(
    make_spec: MakeSpec, mlflow: MlflowServer, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/loss.py").write_text(
        "calls = []\n"
        "def loss(outputs, batch):\n"
        "    calls.append(1)\n"
        "    return outputs.logits.mean() if len(calls) < 40 else outputs.nothing\n"
    )
    code = {"configMapRef": {"name": "code", "key": "loss.py"}, "entrypoint": "loss"}
    spec = spec_of(
        make_spec,
        {"mlflow": {"uri": mlflow.uri, "experiment": "failed"}},
        training={"loss": code},
        config_maps_dir=str(tmp_path),
    )
    with pytest.raises(TrainerError, match="your loss failed"):
        Run(spec).execute()
    run = mlflow.run("failed")
    assert run.info["status"] == "FAILED"
    assert [step for step, _ in run.curve("train/loss")][:4] == [1, 3, 6, 9]


def test_trials_are_runs_below_their_search(make_spec: MakeSpec, mlflow: MlflowServer) -> None:
    spec = search_spec(make_spec, {"trials": 3}).model_copy(
        update={
            "tracking": Tracking.model_validate(
                {"mlflow": {"uri": mlflow.uri, "experiment": "searched"}}
            )
        }
    )
    SearchRun(spec).execute()
    manifest = json.loads((folder_of(spec) / "manifest.json").read_text())
    runs = {it.info["run_name"].rpartition("/")[2]: it for it in mlflow.runs("searched")}
    whole = runs.pop("r1-00000000")
    assert sorted(runs) == ["trial-0", "trial-1", "trial-2"]
    for run in runs.values():
        assert run.tags["mlflow.parentRunId"] == whole.id
        assert run.info["status"] == "FINISHED"
        assert run.curve("eval/accuracy")
    assert len({run.params["training.learningRate"] for run in runs.values()}) == 3
    best = manifest["search"]["best"]["number"]
    assert whole.tags["luthier.best.trial"] == str(best)
    assert whole.curve("train/loss") == runs[f"trial-{best}"].curve("train/loss")
    assert "tuned/accuracy" in whole.values
    assert whole.tags["luthier.artifact.uri"] == spec.output


def test_a_client_of_wandb_that_dies_or_hangs(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what, problem in (("os.kill(os.getpid(), 9)", "its client has died"), (HANGS, None)):
        packages = tmp_path / f"packages-{problem is None}"
        (packages / "wandb").mkdir(parents=True)
        (packages / "wandb/__init__.py").write_text(f"import os, time\n{what}\n")
        monkeypatch.setenv("LUTHIER_WANDB", str(packages))
        output = f"file://{packages}-output"
        spec = spec_of(make_spec, {"wandb": {"mode": "Offline"}}, output=output)
        started = time.monotonic()
        result = Run(spec).execute()
        assert result.outcome == "Succeeded"
        assert time.monotonic() - started < 120
        if problem:
            assert [it.problem for it in result.tracking] == [problem]
