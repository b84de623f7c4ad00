"""Every optimiser that transformers names: it trains and goes on bit for bit, or is refused."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from transformers.training_args import OptimizerNames
from unit.trainer.training_runs import Fit, llama, rows, same

from luthier_api.optimizers import (
    NEEDS_GPU,
    REFUSED,
    Optimizer,
    of_bitsandbytes,
    state_bytes_per_weight,
)
from luthier_api.structural import structural_schema
from luthier_api.training import Training
from luthier_trainer.training import optimizerstate
from luthier_trainer.training.optimizers import make_optimizer

NAMES = get_args(Optimizer)
WORK = [name for name in NAMES if name not in REFUSED]


def test_the_names_are_those_of_transformers() -> None:
    assert set(NAMES) == {name.value for name in OptimizerNames}
    assert not NEEDS_GPU


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_api_with_its_reason(name: str) -> None:
    schema = structural_schema(Training)
    rules = {rule["rule"]: rule["message"] for rule in schema["x-kubernetes-validations"]}
    assert REFUSED[name] in rules[f"self.optimizer != '{name}'"]


@pytest.mark.parametrize("name", WORK)
def test_trains_and_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Hidden size 64: weights large enough for 8-bit states."""
    settings = {
        "optimizer": name,
        "maxSteps": 6,
        "learningRate": 0.5 if name == "sgd" else 0.003,
        "weightDecay": 0.01,
        "gradientAccumulationSteps": 1,
        "logEverySteps": 1,
        "scheduler": "constant",
    }

    def fit(folder: str, stop_at: int | None = None) -> Fit:
        return Fit(
            tmp_path / folder,
            make_model=lambda: llama(hidden=64),
            settings=settings,
            items=rows(8),
            stop_at=stop_at,
        )

    whole, stopped = fit("whole"), fit("stopped", 3)
    losses = whole().journal.series("loss")[1]
    assert losses[-1] < losses[0]
    stopped()
    stopped.stop_at = None
    stopped()
    assert same(stopped.weights, whole.weights)


@pytest.mark.parametrize("name", WORK)
def test_the_state_is_as_large_as_the_page_says(name: str, tmp_path: Path) -> None:
    """Of one large matrix, which all 8-bit ones quantise."""
    model = torch.nn.Linear(256, 256, bias=False)
    optimizer = make_optimizer(model, Training(max_steps=1, optimizer=name))
    model.weight.grad = torch.randn(256, 256)
    optimizer.step()
    tensors, _ = optimizerstate.flatten(optimizer.state_dict())
    held = sum(t.nbytes for n, t in tensors.items() if "qmap" not in n)
    assert held / model.weight.numel() == pytest.approx(state_bytes_per_weight(name), abs=0.11)


def test_what_is_of_bitsandbytes() -> None:
    assert of_bitsandbytes("paged_lion_8bit")
    assert not of_bitsandbytes("adafactor")


def test_a_shared_tensor_is_kept_once() -> None:
    """bitsandbytes' quantisation map is one for all weights."""
    shared = torch.rand(4)
    state = {0: {"a": {"map": shared}, "step": 1}, 1: {"a": {"map": shared}, "m": torch.rand(2)}}
    tensors, document = optimizerstate.flatten({"state": state, "param_groups": []})
    assert len(tensors) == 2
    back = optimizerstate.restore(tensors, document)["state"]
    assert torch.equal(back[1]["a"]["map"], shared)
    assert torch.equal(back[1]["m"], state[1]["m"])  # type: ignore[arg-type]
    assert back[0]["step"] == 1


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValidationError):
        Training.model_validate({"maxSteps": 1, "optimizer": "adamw_of_tomorrow"})
