"""A model that is shared out among the processes that train it: by gloo, on one machine."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ports import ReservedPort
from safetensors.torch import load_file
from unit.trainer.preference_support import MakePreference, make_preference
from unit.trainer.support import MakeSpec, folder_of
from unit.trainer.test_distributed import STILL, Pods, entries, losses_by_step, pods
from unit.trainer.test_run import losses
from unit.trainer.tiny import tiny_folder
from unit.trainer.warm import WarmProcess

from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec

__all__ = ["make_preference", "pods"]

FULL = {"method": {"type": "full"}}
LORA = {"lora": STILL}
SETTINGS = {
    "maxSteps": 8,
    "gradientAccumulationSteps": 1,
    "perDeviceBatchSize": 3,
    "learningRate": 1e-3,
    "saveEverySteps": 4,
}
LONG = {**SETTINGS, "maxSteps": 60, "saveEverySteps": 10}
SHARED = {"parallel": "fsdp"}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_each_process_holds_about_a_half(method: str, tmp_path: Path) -> None:
    """And answers rows of its own, however many it has; what is saved is what there was."""
    folder = tiny_folder("qwen2")  # its output layer is its embeddings
    port = ReservedPort()
    processes = []
    for rank in range(2):
        command = [
            "-m",
            "unit.trainer.fsdp_probe",
            str(rank),
            port.number,
            folder,
            tmp_path,
            method,
        ]
        with (tmp_path / f"log-{rank}").open("wb") as log:
            processes.append(
                WarmProcess([sys.executable, *map(str, command)], stdout=log, env=dict(os.environ))
            )
    for rank, process in enumerate(processes):
        assert process.wait(120) == 0, (tmp_path / f"log-{rank}").read_text()
    found = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2)]

    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole = sum(p.nbytes for p in model.parameters())
    adapter = 0 if method == "full" else _bytes(tmp_path / "saved" / "adapter_model.safetensors")
    for each in found:
        assert not each["meta"]
        assert 0.5 * whole <= each["held"] - adapter < 0.55 * whole
    with torch.no_grad():
        answers = [
            float(model(input_ids=row[None]).logits.norm()) for row in torch.arange(12).view(3, 4)
        ]
    assert found[0]["answers"] == pytest.approx(answers[:1], rel=1e-5)
    assert found[1]["answers"] == pytest.approx(answers, rel=1e-5)
    for rank, each in enumerate(found):
        alone = model.generate(
            input_ids=torch.arange(12).view(3, 4)[:1],
            max_new_tokens=3 + 4 * rank,
            do_sample=False,
            eos_token_id=None,
        )
        assert each["texts"] == alone.tolist()
    if method == "full":
        saved = load_file(tmp_path / "saved" / "model.safetensors")
        original = load_file(folder / "model.safetensors")
        assert saved.keys() == original.keys()
        assert all(torch.equal(saved[name], original[name]) for name in saved)
        assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == [
            "Qwen2ForCausalLM"
        ]


@pytest.mark.parametrize(
    ("method", "more", "tolerance"),
    [
        (FULL, {}, 1e-5),
        (LORA, {"gradientCheckpointing": "Always"}, 1e-5),
        (FULL, {"precision": "bf16"}, 3e-3),
        ({"method": {"type": "full", "full": {"weights": "bf16"}}}, {"precision": "bf16"}, 3e-2),
    ],
    ids=["full", "lora", "full-in-bf16", "full-of-bf16"],
)
def test_two_with_a_half_each_learn_what_one_learns(
    method: dict[str, Any],
    more: dict[str, Any],
    tolerance: float,
    pods: Pods,
    make_spec: MakeSpec,
    tmp_path: Path,
) -> None:
    """Of an epoch of which the last step has a batch for one of them alone, too."""
    training = {**SETTINGS, "evalEverySteps": 4, **more}
    twice = {**training, "gradientAccumulationSteps": 2}
    told = {"dataset": {"evalFraction": 0.2}, "metrics": ["accuracy", "loss"], **method}
    alone = make_spec(output=f"file://{tmp_path}/one", training=twice, **told)
    both = make_spec(output=f"file://{tmp_path}/two", training={**training, **SHARED}, **told)
    one, two = pods.succeed(alone, 1), pods.succeed(both)
    assert two["resolved"]["parallel"] == "fsdp"
    assert losses_by_step(both) == pytest.approx(losses_by_step(alone), rel=tolerance)
    for which in ("base", "tuned"):
        assert two["evaluation"][which] == pytest.approx(
            one["evaluation"][which], rel=10 * tolerance
        )
    assert two["usage"]["trainedTokens"] == one["usage"]["trainedTokens"]
    mine, theirs = _weights(both), _weights(alone)
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        assert torch.allclose(weight.float(), theirs[name].float(), atol=10 * tolerance), name
    for path in folder_of(alone).glob("model/*.json"):
        assert (folder_of(both) / "model" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_preferences_are_learnt_from_halves(
    method: str, pods: Pods, make_preference: MakePreference, tmp_path: Path
) -> None:
    """Compared with what the start says: asked once of the whole data, or beside the adapter."""
    told: dict[str, Any] = {"preference": {"objective": "dpo"}, "method": {"type": method}}
    training = {**SETTINGS, "maxSteps": 6}
    twice = {**training, "gradientAccumulationSteps": 2}
    alone = make_preference(output=f"file://{tmp_path}/one", training=twice, **told)
    both = make_preference(output=f"file://{tmp_path}/two", training={**training, **SHARED}, **told)
    one, two = pods.succeed(alone, 1), pods.succeed(both)
    assert losses_by_step(both) == pytest.approx(losses_by_step(alone), rel=1e-4)
    for which in ("base", "tuned"):
        found, expected = two["evaluation"][which], one["evaluation"][which]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_best_weights_come_from_all_parts(
    pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """Of a model that is shared out because it wouldn't fit."""
    training = {
        **SETTINGS,
        "learningRate": 0.05,
        "evalEverySteps": 2,
        "earlyStopping": {"patience": 9},
    }
    told = {"dataset": {"evalFraction": 0.2}, "metrics": ["loss"], **FULL}
    spec = make_spec(
        output=f"file://{tmp_path}/two", training=training, memory_bytes=500_000, **told
    )
    first, other = pods(spec)
    for process in (first, other):
        assert process.wait() == ExitCode.SUCCEEDED, process.log.read_text()
    resolved = first.result()["resolved"]
    assert resolved["parallel"] == "fsdp"
    assert resolved["heldByEach"].startswith("ddp 0.00 GB, fsdp 0.00 GB")
    assert "its weights are the result" in first.log.read_text()
    best = min(entry["eval_loss"] for entry in entries(spec) if "eval_loss" in entry)
    assert first.result()["evaluation"]["tuned"]["loss"] > 0
    assert best < max(entry["eval_loss"] for entry in entries(spec) if "eval_loss" in entry)


def test_a_stop_of_either_costs_nothing(pods: Pods, make_spec: MakeSpec, tmp_path: Path) -> None:
    """Each saves its part, and goes on with it, to the bit; others go on from the same parts."""
    spec = make_spec(output=f"file://{tmp_path}/stopped", training={**LONG, **SHARED}, **FULL)
    step = _stopped(pods, spec, 2)
    files = json.loads((_checkpoint(spec, step) / "manifest.json").read_text())["files"]
    sizes = [file["bytes"] for file in files["parts"]]
    assert len(sizes) == 2
    assert max(sizes) < 1.1 * min(sizes)
    alone = make_spec(output=f"file://{tmp_path}/alone", training={**LONG, **SHARED}, **FULL)
    _copy(spec, alone)
    whole = make_spec(output=f"file://{tmp_path}/whole", training={**LONG, **SHARED}, **FULL)
    pods.succeed(spec, 2)
    pods.succeed(whole, 2)
    assert _same(_weights(spec), _weights(whole))
    assert losses(folder_of(spec)) == losses(folder_of(whole))
    result = pods.succeed(alone, 1)
    assert "the number of processes" in result["inexactResume"]
    assert losses_by_step(alone) == pytest.approx(losses_by_step(whole), rel=1e-3)


def test_what_one_began_two_go_on_with(pods: Pods, make_spec: MakeSpec, tmp_path: Path) -> None:
    training = {**LONG, "maxSteps": 30, **SHARED}
    spec = make_spec(output=f"file://{tmp_path}/stopped", training=training, **FULL)
    _stopped(pods, spec, 1)
    pods.succeed(spec, 2)
    whole = make_spec(output=f"file://{tmp_path}/whole", training=training, **FULL)
    pods.succeed(whole, 1)
    assert losses_by_step(spec) == pytest.approx(losses_by_step(whole), rel=1e-3)


def test_one_that_is_killed_costs_the_steps_since_the_last_checkpoint(
    pods: Pods, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """The other one has no more than its part: what is half-written counts for nothing."""
    training = {**LONG, **SHARED}
    spec = make_spec(output=f"file://{tmp_path}/killed", training=training, **FULL)
    first, other = pods(spec)
    first.wait_for("step 12/")
    other.signal(signal.SIGKILL)
    assert first.wait() == ExitCode.INTERRUPTED, first.log.read_text()
    assert first.result()["checkpoints"][-1]["step"] % 10 == 0
    pods.succeed(spec)
    whole = make_spec(output=f"file://{tmp_path}/whole", training=training, **FULL)
    pods.succeed(whole)
    assert _same(_weights(spec), _weights(whole))


def _stopped(pods: Pods, spec: RunSpec, count: int) -> int:
    """The step of its last checkpoint, the last process having been told to stop."""
    processes = pods(spec, count)
    processes[0].wait_for("step 12/")
    processes[-1].signal(signal.SIGTERM)
    for process in processes:
        assert process.wait() == ExitCode.INTERRUPTED, process.log.read_text()
    step: int = processes[0].result()["checkpoints"][-1]["step"]
    assert step >= 12
    return step


def _checkpoint(spec: RunSpec, step: int) -> Path:
    return folder_of(spec) / "checkpoints" / f"step-{step:06d}"


def _copy(spec: RunSpec, other: RunSpec) -> None:
    shutil.copytree(folder_of(spec), folder_of(other))


def _weights(spec: RunSpec) -> dict[str, torch.Tensor]:
    [path] = [
        *folder_of(spec).glob("adapter/*.safetensors"),
        *folder_of(spec).glob("model/*.safetensors"),
    ]
    return load_file(path)


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def _bytes(path: Path) -> int:
    return sum(tensor.nbytes for tensor in load_file(path).values())
