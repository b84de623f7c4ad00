"""What a training is expected to need, and what it then needs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.training_runs import Causal, Tokens, llama, lora_llama, rows

from luthier_api.training import Training
from luthier_trainer.models.load import Precision
from luthier_trainer.training import generators
from luthier_trainer.training.estimate import calibrate, memory_of
from luthier_trainer.training.memory import limit_bytes
from luthier_trainer.training.resolve import resolve

FP32 = Precision("fp32")
PLENTY = 1 << 50


def settings(**changes: Any) -> Training:
    return Training.model_validate({"maxSteps": 10, "perDeviceBatchSize": "auto", **changes})


def test_a_calibration_leaves_no_trace() -> None:
    model = lora_llama()
    model.eval()
    before, _ = generators.capture()
    weights = {n: p.clone() for n, p in model.named_parameters()}
    found = calibrate(model, Causal(), rows(20), FP32, 8)
    after, _ = generators.capture()
    assert found.activation_bytes > 0
    assert found.seconds_per_token > 0
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(weights[n], p) for n, p in model.named_parameters())


def test_activations_grow_with_the_batch() -> None:
    """What is learnt of two rows tells of eight: within a quarter."""
    model, items = llama(hidden=64), [Tokens([2 + i % 60 for i in range(48)])] * 8
    few, many = (calibrate(model, Causal(), items, FP32, size) for size in (2, 8))
    expected = few.activation_bytes / few.tokens * many.tokens
    assert expected == pytest.approx(many.activation_bytes, rel=0.25)


def test_the_state_of_full_fine_tuning_is_counted() -> None:
    model = llama()
    weights = sum(p.numel() for p in model.parameters())
    found = memory_of(model, "adamw_torch", 1000, calibrate(model, Causal(), rows(8), FP32, 2))
    assert found.gradients == 4 * weights
    assert found.optimizer == 8 * weights
    assert found.total(0) == 1000 + (4 + 8 + 12) * weights
    assert found.total(100) > found.total(50)


@pytest.mark.parametrize(("room", "size"), [(PLENTY, 32), (0, 1)])
def test_the_largest_batch_that_fits(room: int, size: int) -> None:
    found = resolve(llama(), Causal(), rows(40), settings(), FP32, room)
    assert found.batch_size == size
    assert found.notes["perDeviceBatchSize"] == str(size)


def test_a_batch_is_no_larger_than_the_data_and_a_given_one_stays() -> None:
    assert resolve(llama(), Causal(), rows(5), settings(), FP32, PLENTY).batch_size == 4
    given = settings(perDeviceBatchSize=3)
    assert resolve(llama(), Causal(), rows(5), given, FP32, PLENTY).batch_size == 3


@pytest.mark.parametrize(
    ("wish", "room", "on"),
    [("Auto", PLENTY, False), ("Auto", 0, True), ("Never", 0, False), ("Always", PLENTY, True)],
)
def test_gradient_checkpointing_where_memory_asks_for_it(wish: str, room: int, on: bool) -> None:
    model = lora_llama()
    given = settings(gradientCheckpointing=wish)
    found = resolve(model, Causal(), rows(8), given, FP32, room)
    assert found.gradient_checkpointing is on
    assert model.is_gradient_checkpointing is on


def test_a_resumed_run_keeps_what_was_decided() -> None:
    first = resolve(lora_llama(), Causal(), rows(40), settings(), FP32, 0)
    again = resolve(lora_llama(), Causal(), rows(40), settings(), FP32, PLENTY, kept=first.kept)
    assert again.kept == first.kept == {"batchSize": "1", "gradientCheckpointing": "on"}


def test_the_limit_is_the_cgroups(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("123456789\n")
    assert limit_bytes(None, tmp_path) == 123456789
    assert limit_bytes(1000, tmp_path) == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert limit_bytes(None, tmp_path) > 1 << 28
