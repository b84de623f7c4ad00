"""Full fine-tuning with weights in bf16: rounded by chance, the same chance each time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers.optimization import Adafactor
from unit.trainer.cells import batch, main_class, source, spec, train
from unit.trainer.support import MakeSpec
from unit.trainer.tiny import tiny
from unit.trainer.training_runs import Fit, course, llama, rows, same

from luthier_api.training import Training
from luthier_trainer.finetune.run import Run
from luthier_trainer.methods.apply import tune
from luthier_trainer.models.load import BaseSource, stored_type
from luthier_trainer.models.precision import Precision
from luthier_trainer.training.optimizers import make_optimizer
from luthier_trainer.training.rounding import StochasticRounding, _round, step_bytes, with_rounding

BF16 = torch.bfloat16


def test_a_number_is_rounded_up_as_often_as_it_is_near() -> None:
    step = 2**-7  # between neighbours of 1 in bf16
    weights = torch.full((40_000,), 1 + 0.3 * step)
    _round(weights, torch.Generator().manual_seed(1))
    assert torch.equal(weights, weights.to(BF16).float())
    assert set(weights.tolist()) == {1.0, 1 + step}
    assert float((weights > 1).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(weights.double().mean()) == pytest.approx(1 + 0.3 * step, abs=1e-4)


def test_what_bf16_has_stays_and_signs_do_too() -> None:
    exact = torch.tensor([0.0, -0.0, 1.5, -2.0, 3e38, float("inf"), float("-inf")]).to(BF16).float()
    weights = exact.clone()
    _round(weights, torch.Generator().manual_seed(1))
    assert torch.equal(weights, exact)
    below = torch.full((1000,), -(1 + 2**-9))
    _round(below, torch.Generator().manual_seed(1))
    assert set(below.tolist()) == {-1.0, -(1 + 2**-7)}


def steps_of(dtype: torch.dtype, rounded: bool, count: int = 400) -> torch.Tensor:
    """Weights of 1, with a gradient that is always the same: far smaller steps than bf16 has."""
    layer = nn.Linear(64, 64, bias=False).to(dtype)
    nn.init.ones_(layer.weight)
    optimizer: Any = torch.optim.SGD(layer.parameters(), lr=1e-4)
    if rounded:
        optimizer = with_rounding(optimizer, seed=3)
    for _ in range(count):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimizer.step()
        optimizer.zero_grad()
    return layer.weight.detach().float()


def test_steps_that_the_nearest_number_would_swallow_are_made() -> None:
    assert torch.equal(steps_of(BF16, rounded=False), torch.ones(64, 64))
    assert float(steps_of(torch.float32, rounded=False).mean()) == pytest.approx(0.96, abs=1e-4)
    assert float(steps_of(BF16, rounded=True).mean()) == pytest.approx(0.96, abs=2e-3)
    assert torch.equal(steps_of(BF16, rounded=True), steps_of(BF16, rounded=True))


def test_weights_in_fp32_have_the_optimiser_itself() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert with_rounding(optimizer, 1) is optimizer
    assert step_bytes(layer.parameters()) == 0
    assert step_bytes(layer.to(BF16).parameters()) == 12 * 4


def test_each_weight_is_fp32_while_it_is_stepped_and_its_state_too() -> None:
    """And those in fp32 beside it step once."""
    small, other = (nn.Parameter(torch.ones(300)) for _ in range(2))
    small.data = small.data.to(BF16)
    optimizer = with_rounding(torch.optim.AdamW([small, other], lr=1e-3), 1)
    assert isinstance(optimizer, StochasticRounding)
    for _ in range(3):
        small.grad, other.grad = torch.ones_like(small), torch.ones_like(other)
        optimizer.step()
        assert small.grad is not None
        assert (small.dtype, small.grad.dtype) == (BF16, BF16)
    assert {state["exp_avg"].dtype for state in optimizer.state.values()} == {torch.float32}
    assert {float(state["step"]) for state in optimizer.state.values()} == {3.0}
    again = with_rounding(torch.optim.AdamW([small, other], lr=1e-3), 1)
    again.load_state_dict(optimizer.state_dict())
    assert {state["exp_avg"].dtype for state in again.state.values()} == {torch.float32}
    assert again.param_groups[0]["rounded_steps"] == 3
    assert small.dtype == BF16


@pytest.mark.parametrize(
    "name", ["adamw_torch", "adamw_bnb_8bit", "paged_adamw_8bit", "adafactor", "sgd", "lion_8bit"]
)
def test_it_learns_and_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    settings = {
        "optimizer": name,
        "maxSteps": 6,
        "learningRate": 0.5 if name == "sgd" else 0.003,
        "gradientAccumulationSteps": 1,
        "logEverySteps": 1,
        "scheduler": "constant",
    }

    def fit(folder: str, stop_at: int | None = None) -> Fit:
        return Fit(
            tmp_path / folder,
            make_model=lambda: llama(hidden=64).to(BF16),
            settings=settings,
            items=rows(8),
            precision="bf16",
            stop_at=stop_at,
        )

    whole = fit("whole")
    outcome = whole()
    losses = [entry["loss"] for entry in course(outcome)]
    assert losses[-1] < losses[0]
    assert {weight.dtype for weight in whole.weights.values()} == {BF16}
    disturbed = fit("disturbed", stop_at=3)
    assert disturbed().step == 3
    disturbed.stop_at = None
    disturbed()
    assert same(disturbed.weights, whole.weights)


def test_8_bit_states_are_those_of_fp32_weights() -> None:
    layer = nn.Linear(64, 128, bias=False).to(BF16)
    nn.init.ones_(layer.weight)
    settings = {"maxSteps": 1, "optimizer": "adamw_bnb_8bit", "learningRate": 1e-3}
    optimizer = make_optimizer(layer, Training.model_validate(settings))
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    assert optimizer.state[layer.weight]["state1"].dtype == torch.uint8
    assert layer.weight.dtype == BF16
    assert float(layer.weight.float().mean()) == pytest.approx(1 - 1e-3, abs=5e-4)


def test_adafactor_of_transformers_is_one_of_them() -> None:
    weight = nn.Parameter(torch.ones(8, 8, dtype=BF16))
    optimizer = with_rounding(Adafactor([weight], lr=1e-3, relative_step=False), 1)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert optimizer.state[weight]["exp_avg_sq_row"].dtype == torch.float32


def in_bf16(folder: Path) -> BaseSource:
    base = BaseSource(tiny("llama", folder), source("llama").head, 32, 7)
    base.load_as(BF16).save_pretrained(folder)
    return base


def test_the_model_is_bf16_from_loading_to_saving(tmp_path: Path) -> None:
    base, inputs = source("llama"), batch("llama", main_class("llama"))
    tuning = tune(spec("full", full={"weights": "bf16"}), base, Precision("bf16"))
    assert tuning.resolved == {"weights": "bf16"}
    assert {p.dtype for p in tuning.model.parameters()} == {BF16}
    before = {name: p.clone() for name, p in tuning.model.named_parameters()}
    train(tuning.model, inputs, autocast=BF16)
    with tuning.base() as model:
        assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
        assert {p.dtype for p in model.parameters()} == {BF16}
    tuning.settle()
    learnt = {name: p.clone() for name, p in tuning.model.named_parameters()}
    tuning.save(tmp_path / "model")
    assert stored_type(tmp_path / "model") == BF16  # of a base in fp32
    taken = tune(
        spec("full", full={"weights": "bf16"}), base, Precision("bf16"), tmp_path / "model"
    )
    assert all(torch.equal(learnt[name], p) for name, p in taken.model.named_parameters())


def test_a_model_is_published_in_the_type_of_its_base(tmp_path: Path) -> None:
    """And it is measured rounded to it."""
    base, inputs = in_bf16(tmp_path / "base"), batch("llama", main_class("llama"))
    tuning = tune(spec("full"), base, Precision("fp32"))
    assert {p.dtype for p in tuning.model.parameters()} == {torch.float32}
    train(tuning.model, inputs, rate=1e-4)
    tuning.settle()
    weights = {name: p.clone() for name, p in tuning.model.named_parameters()}
    assert {p.dtype for p in weights.values()} == {torch.float32}
    tuning.save(tmp_path / "model")
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {BF16}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    for name, weight in saved.items():
        assert torch.equal(weight.float(), weights[name]), name


def test_a_whole_run(make_spec: MakeSpec, tmp_path: Path) -> None:
    method = {"type": "full", "full": {"weights": "bf16"}}
    result = Run(make_spec(method=method, training={"maxSteps": 3})).execute()
    assert result.outcome == "Succeeded"
    assert stored_type(tmp_path / "output" / "model") == BF16
    manifest = json.loads((tmp_path / "output" / "manifest.json").read_text())
    assert manifest["resolved"]["weights"] == "bf16"
    assert manifest["resolved"]["precision"] == "bf16"
