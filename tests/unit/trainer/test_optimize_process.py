"""The trainer as a process that optimises: killed at any moment, it goes on with what is left."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.trainer.optimize_support import fine_tuned, order_maker, tiny_decoder
from unit.trainer.support import Operator, TrainerProcess, folder_of

from luthier_api.result import MAX_RESULT_BYTES, ExitCode, OptimizeResult

Start = Callable[..., TrainerProcess]

# Three trainers, one after the other.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    place = tmp_path_factory.mktemp("artifact")
    short = {"maxSteps": 2, "saveEverySteps": 2}
    return fine_tuned(tiny_decoder("llama", place / "llama"), colours, place, training=short)


def test_a_killed_pod_goes_on_with_what_is_left(
    start_warm_trainer: Start, artifact: Path, tmp_path: Path, operator: Operator
) -> None:
    target = {"url": operator.url, "intervalSeconds": 0.2, "tokenFile": "/nonexistent"}
    order = order_maker(artifact, tmp_path)(
        precisions=["fp32", "int8", "int4"], order={"progress": target}
    )
    first = start_warm_trainer(order)
    first.wait_for("stage: Building int8")
    first.signal(signal.SIGTERM)  # within the builder's process
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    ended = OptimizeResult.model_validate(first.result())
    assert ended.outcome == "Interrupted"
    assert [it.precision for it in ended.candidates] == ["fp32"]
    assert ended.baseline

    second = start_warm_trainer(order)
    second.wait_for("stage: Measuring int8")
    second.signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL

    last = start_warm_trainer(order)
    assert last.wait() == ExitCode.SUCCEEDED, last.log.read_text()
    log = last.log.read_text()
    assert "fp32: built and measured before" in log
    assert "int8: built before" in log
    assert "stage: Building int4" in log
    assert "built fp32" not in log
    assert "built int8" not in log
    result = OptimizeResult.model_validate(last.result())
    assert result.restarts
    assert (result.restarts.failures, result.restarts.disruptions) == (1, 1)
    assert [it.precision for it in result.candidates] == ["fp32", "int8", "int4"]
    assert len(last.result_file.read_bytes()) <= MAX_RESULT_BYTES
    assert result.artifact
    assert (folder_of(order) / "manifest.json").exists()

    reports = [body for _, _, body in operator.requests]
    stages = [body["progress"].get("stage") for body in reports]
    for stage in ("Measuring the source", "Building int8", "Measuring int4"):
        assert stage in stages
    assert len(reports[-1]["candidates"]) == 3
    assert reports[-1]["baseline"]["precision"] == "fp32"


def test_gates_that_nothing_keeps_end_with_their_own_code(
    start_warm_trainer: Start, artifact: Path, tmp_path: Path
) -> None:
    order = order_maker(artifact, tmp_path)(precisions=["int4"], gates={"maxSize": "1k"})
    pod = start_warm_trainer(order)
    assert pod.wait() == ExitCode.NOT_GOOD_ENOUGH, pod.log.read_text()
    result = OptimizeResult.model_validate(pod.result())
    assert result.error
    assert (result.error.code, result.error.param) == ("GatesNotMet", "gates")
    assert result.candidates[0].verdict == "Rejected"
    assert result.artifact is None
    records = list((folder_of(order) / "attempts").iterdir())
    assert json.loads(records[0].read_bytes())["code"] == "GatesNotMet"
