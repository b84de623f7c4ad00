"""Processes that train one model together, as pods of several nodes do: by gloo, on one machine."""

import json
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.preference_support import preference_maker
from unit.trainer.support import MakeSpec, TrainerProcess, folder_of, write_jsonl
from unit.trainer.test_run import losses, same_weights

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec

Start = Callable[..., TrainerProcess]
# Without dropout: each process draws its own.
STILL = {"dropout": 0.0}
SETTINGS = {"maxSteps": 12, "gradientAccumulationSteps": 2, "perDeviceBatchSize": 3}
LONG = {**SETTINGS, "maxSteps": 120, "saveEverySteps": 10}


class Pods:
    """The pods of a run, started together."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def __call__(
        self, spec: RunSpec, nodes: int = 2, specs: Sequence[RunSpec] = ()
    ) -> list[TrainerProcess]:
        """`specs`: of the others, where they are told something else."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            meeting = f"127.0.0.1:{found.getsockname()[1]}"
        orders = [spec, *(specs or [spec] * (nodes - 1))]
        return [
            self._start(
                order.model_copy(update={"nodes": nodes}),
                JOB_COMPLETION_INDEX=str(index),
                LUTHIER_MASTER=meeting,
                OMP_NUM_THREADS="1",
            )
            for index, order in enumerate(orders)
        ]

    def succeed(self, spec: RunSpec, nodes: int = 2) -> dict[str, Any]:
        """The result of a run that all of them end well."""
        pods = self(spec, nodes)
        for pod in pods:
            assert pod.wait() == ExitCode.SUCCEEDED, pod.log.read_text()
        return pods[0].result()


@pytest.fixture
def pods(start_warm_trainer: Start) -> Pods:
    return Pods(start_warm_trainer)


def test_two_learn_what_one_learns_from_the_same_batches(
    pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """Of an epoch of which the last step has fewer batches than there are processes, too."""
    evaluated = {"dataset": {"evalFraction": 0.2}, "metrics": ["accuracy", "loss"]}
    training = {**SETTINGS, "evalEverySteps": 4}
    more = {**training, "gradientAccumulationSteps": 4}
    alone = make_spec(output=f"file://{tmp_path}/one", training=more, lora=STILL, **evaluated)
    both = make_spec(output=f"file://{tmp_path}/two", training=training, lora=STILL, **evaluated)
    one, two = pods.succeed(alone, 1), pods.succeed(both)
    assert losses_by_step(both) == pytest.approx(losses_by_step(alone), rel=1e-5)
    assert two["evaluation"]["tuned"] == pytest.approx(one["evaluation"]["tuned"], rel=1e-4)
    assert two["usage"]["trainedTokens"] == one["usage"]["trainedTokens"]
    log = entries(both)
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [4, 8, 12]
    assert [entry.get("eval_accuracy") for entry in log] == pytest.approx(
        [entry.get("eval_accuracy") for entry in entries(alone)]
    )


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2)])
def test_a_stop_of_any_pod_costs_nothing(
    before: int, after: int, pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """SIGTERM reaches the last pod alone: all save the same step, and go on from it, as many or
    others. As many end as if nothing had been; others learn from the same rows."""
    lora = {} if before == after else STILL
    spec = make_spec(output=f"file://{tmp_path}/stopped", training=LONG, lora=lora)
    first = pods(spec, before)
    first[0].wait_for("step 12/120")
    first[-1].signal(signal.SIGTERM)
    for pod in first:
        assert pod.wait() == ExitCode.INTERRUPTED, pod.log.read_text()
    step = first[0].result()["checkpoints"][-1]["step"]
    assert step >= 12
    assert first[0].result()["progress"]["step"] == step
    result = pods.succeed(spec, after)
    whole = make_spec(output=f"file://{tmp_path}/whole", training=LONG, lora=lora)
    pods.succeed(whole, before)
    if before == after:
        assert same_weights(folder_of(spec), folder_of(whole))
        assert losses(folder_of(spec)) == losses(folder_of(whole))
    else:
        assert losses_by_step(spec) == pytest.approx(losses_by_step(whole), rel=0.05)
        assert "the number of processes" in result["inexactResume"]


def test_a_pod_that_dies_ends_the_others_in_seconds(pods: Pods, make_spec: MakeSpec) -> None:
    """They save what they have, and all go on together."""
    spec = make_spec(training=LONG)
    first, other = pods(spec)
    first.wait_for("step 12/120")
    other.signal(signal.SIGKILL)
    killed = time.monotonic()
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    assert time.monotonic() - killed < 20
    assert "a process that trains beside this one is gone" in first.log.read_text()
    ended = first.result()
    assert ended["outcome"] == "Interrupted"
    assert ended["checkpoints"][-1]["step"] == ended["progress"]["step"] >= 12
    assert pods.succeed(spec)["restarts"]["disruptions"] == 1


# In the second process alone.
SPOILT = """
import os

def loss(outputs, batch):
    spoilt = os.environ["JOB_COMPLETION_INDEX"] == "1"
    return outputs.logits.float().mean() * (float("nan") if spoilt else 1.0)
"""


def test_a_loss_that_is_no_number_in_one_ends_all_with_its_rows(
    pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "loss.py").write_text(SPOILT)
    code = {"configMapRef": {"name": "code", "key": "loss.py"}, "entrypoint": "loss"}
    spec = make_spec(training={**SETTINGS, "loss": code}, config_maps_dir=str(tmp_path))
    both = pods(spec)
    assert [pod.wait() for pod in both] == [ExitCode.UNSUPPORTED] * 2, both[0].log.read_text()
    error = both[0].result()["error"]
    assert error["code"] == "LossNotFinite"
    assert "train.jsonl" in error["message"]


def test_pods_that_read_other_data_begin_anew(
    pods: Pods, make_spec: MakeSpec, colours: Path, tmp_path: Path
) -> None:
    """The data moved between the two: nothing is learnt from half of each."""
    rows = [
        {"text": f"deep {name} {i}", "label": name} for i in range(9) for name in ("red", "blue")
    ]
    write_jsonl(tmp_path / "moved" / "train.jsonl", rows)
    spec = make_spec(dataset={"test": None}, training=SETTINGS)
    moved = make_spec(dataset={"uri": f"file://{tmp_path}/moved", "test": None}, training=SETTINGS)
    first, other = pods(spec, specs=[moved])
    assert other.wait() == ExitCode.INTERRUPTED, other.log.read_text()
    assert "the dataset is" in other.log.read_text()
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    assert not (folder_of(spec) / "manifest.json").exists()


def test_a_pod_that_comes_when_all_is_done_ends_well(pods: Pods, make_spec: MakeSpec) -> None:
    spec = make_spec(training=SETTINGS)
    pods.succeed(spec)
    pods.succeed(spec)  # each on its own finds the result


def test_one_that_fails_before_they_meet_says_why(
    pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "bad" / "train.jsonl", [{"text": "a"}])
    spec = make_spec(dataset={"uri": f"file://{tmp_path}/bad", "test": None})
    both = pods(spec)
    for pod in both:
        assert pod.wait() == ExitCode.DATA, pod.log.read_text()
    assert both[0].result()["error"]["code"]


def losses_by_step(spec: RunSpec) -> dict[int, float]:
    return {entry["step"]: entry["loss"] for entry in entries(spec) if "loss" in entry}


def entries(spec: RunSpec) -> list[dict[str, Any]]:
    text = (folder_of(spec) / "report" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("objective", "method", "parallel"),
    [
        ("dpo", "lora", "ddp"),
        ("kto", "lora", "ddp"),
        ("dpo", "full", "ddp"),
        ("dpo", "lora", "fsdp"),
        ("dpo", "full", "fsdp"),
    ],
)
def test_two_learn_which_answers_are_better_as_one_does(
    pods: Pods, make_spec: MakeSpec, tmp_path: Path, objective: str, method: str, parallel: str
) -> None:
    """Also what is estimated of all rows of a step, and what the start says, which they share."""
    make = preference_maker(make_spec, tmp_path)
    training = {**SETTINGS, "maxSteps": 6, "learningRate": 1e-3, "parallel": parallel}
    more = {**training, "gradientAccumulationSteps": 4, "parallel": "ddp"}
    kind = {"type": method, **({"lora": STILL} if method == "lora" else {})}
    preference = {"objective": objective, "beta": 0.5}
    alone, both = (
        make(output=f"file://{tmp_path}/{name}", training=it, preference=preference, method=kind)
        for name, it in (("one", more), ("two", training))
    )
    one, two = pods.succeed(alone, 1), pods.succeed(both)
    assert losses_by_step(both) == pytest.approx(losses_by_step(alone), rel=1e-5)
    assert two["evaluation"]["tuned"] == pytest.approx(one["evaluation"]["tuned"], rel=1e-3)
