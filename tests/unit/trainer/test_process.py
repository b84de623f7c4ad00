"""The trainer as a process: signals, exit codes, the termination message."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.trainer.support import (
    MakeSpec,
    Operator,
    Seaweed,
    TrainerProcess,
    client,
    create_bucket,
    folder_of,
)
from unit.trainer.test_run import losses, same_weights

from luthier_api.result import MAX_RESULT_BYTES, ExitCode, RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.finetune.run import Run

Start = Callable[..., TrainerProcess]


@pytest.fixture
def undisturbed(make_spec: MakeSpec, tmp_path: Path) -> Path:
    spec = make_spec(output=f"file://{tmp_path}/undisturbed", training=LONG)
    Run(spec).execute()
    return folder_of(spec)


# Long enough to be hit in its middle.
LONG = {"maxSteps": 400, "saveEverySteps": 10}


def test_sigterm_and_sigkill_change_nothing_in_the_result(
    start_warm_trainer: Start, make_spec: MakeSpec, undisturbed: Path
) -> None:
    spec: RunSpec = make_spec(training=LONG)
    first = start_warm_trainer(spec)
    first.wait_for("step 12/400")
    first.signal(signal.SIGTERM)
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    assert first.result()["outcome"] == "Interrupted"
    step = first.result()["progress"]["step"]
    assert first.result()["checkpoints"][-1]["step"] == step, "a checkpoint of its last step"

    second = start_warm_trainer(spec)
    second.wait_for(f"going on from the checkpoint of step {step}")
    second.wait_for("step 60/400")
    second.signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL

    last = start_warm_trainer(spec)
    assert last.wait() == ExitCode.SUCCEEDED, last.log.read_text()
    result = last.result()
    assert result["outcome"] == "Succeeded"
    assert result["restarts"] == {"failures": 1, "disruptions": 1, "total": 2}
    assert len(last.result_file.read_bytes()) <= MAX_RESULT_BYTES
    assert same_weights(folder_of(spec), undisturbed)
    assert losses(folder_of(spec)) == losses(undisturbed)


def test_bad_data_fails_before_torch_is_loaded(
    start_trainer: Start, make_spec: MakeSpec, tmp_path: Path
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "x", "label": "red"}\n{"text":\n')
    spec = make_spec(dataset={"uri": f"file://{tmp_path}/bad.jsonl", "test": None})
    started = time.monotonic()
    # Importing torch would fail this run with another code.
    (tmp_path / "hidden").mkdir()
    for name in ("torch", "transformers", "peft", "pyarrow", "pandas", "boto3"):
        (tmp_path / "hidden" / f"{name}.py").write_text("raise SystemExit(99)")
    pod = start_trainer(spec, PYTHONPATH=_path_with(tmp_path / "hidden"))
    assert pod.wait() == ExitCode.DATA, pod.log.read_text()
    assert time.monotonic() - started < 20
    result = pod.result()
    assert result["datasetValid"] is False
    assert result["error"]["code"] == "MalformedRow"
    assert "bad.jsonl:2" in result["error"]["message"]


def _path_with(folder: Path) -> str:
    import sys

    return ":".join([str(folder), *(entry for entry in sys.path if entry)])


def test_an_unreadable_run_spec(start_trainer: Start, make_spec: MakeSpec) -> None:
    spec = make_spec()
    broken = spec.to_json()
    del broken["shapeHash"]

    class Broken:
        def to_json(self) -> dict[str, object]:
            return broken

    pod = start_trainer(Broken())
    assert pod.wait() == ExitCode.INVALID_RUN_SPEC
    assert "shapeHash" in pod.result()["error"]["message"]


def test_the_result_is_a_result(start_trainer: Start, make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(model=f"file://{tmp_path}/nowhere")
    pod = start_trainer(spec)
    assert pod.wait() == ExitCode.NOT_FOUND
    result = RunResult.model_validate(json.loads(pod.result_file.read_text()))
    assert result.error
    assert (result.error.code, result.error.param) == ("ModelNotFound", "model.uri")


def test_sigterm_while_evaluating(start_warm_trainer: Start, make_spec: MakeSpec) -> None:
    """Nothing is left to save: it ends at once, and the next pod evaluates."""
    spec = make_spec(dataset={"test": "test"})
    first = start_warm_trainer(spec)
    first.wait_for("stage: Evaluating")
    first.signal(signal.SIGTERM)
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    second = start_warm_trainer(spec)
    assert second.wait() == ExitCode.SUCCEEDED, second.log.read_text()
    assert "going on from the checkpoint of step 24" in second.log.read_text()
    assert second.result()["restarts"]["disruptions"] == 1


def test_a_run_that_is_over_writes_nothing_more(
    start_warm_trainer: Start, make_spec: MakeSpec, operator: Operator
) -> None:
    target = {"url": operator.url, "intervalSeconds": 0.1, "tokenFile": "/nonexistent"}
    spec = make_spec(training={**LONG, "maxSteps": 2000}, progress=target)
    pod = start_warm_trainer(spec)
    pod.wait_for("step 12/2000")
    operator.answer = 409
    assert pod.wait() == ExitCode.INTERRUPTED, pod.log.read_text()
    output = folder_of(spec)
    assert not (output / "manifest.json").exists()
    last = pod.result()["progress"]["step"]
    assert not (output / "checkpoints" / f"step-{last:06d}").exists() or last % 10 == 0


def test_storage_that_is_gone_for_a_while_in_mid_run(
    start_warm_trainer: Start,
    make_spec: MakeSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    s3: object,
) -> None:
    own = Seaweed(tmp_path / "weed")
    own.start()
    try:
        create_bucket(client(own.endpoint), "artifacts")
        spec = make_spec(
            output="s3://artifacts/run",
            training={**LONG, "maxSteps": 400},
            storage=own.access(retry_seconds=60).to_json(),
        )
        pod = start_warm_trainer(spec)
        pod.wait_for("checkpoint of step 10:")
        own.stop()
        pod.wait_for("trying again for")
        before = pod.log.read_text().count("step ")
        time.sleep(3)
        assert pod.log.read_text().count("step ") > before, "training stood still"
        own.start()
        assert pod.wait() == ExitCode.SUCCEEDED, pod.log.read_text()
        assert pod.result()["checkpoints"][-1]["step"] == 400
    finally:
        own.stop()
