"""LoRA as applied here is peft's own: the same loss and gradients."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from unit.trainer.cells import BF16, FP32, SEED, batch, loss_of, plain, source, train, tuned

TARGETS = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "bart": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
}
TASKS = {"llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "bart": "SEQ_2_SEQ_LM"}


def gradients(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    torch.autograd.backward(loss_of(model, inputs))
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("variant", ["plain", "dora"])
def test_loss_and_gradients_are_those_of_plain_peft(architecture: str, variant: str) -> None:
    base = source(architecture)
    inputs = batch(architecture, base.head.auto_class)
    settings = {"rank": 4, "alpha": 6, "dora": variant == "dora"}
    ours = tuned(base, "lora", lora=settings).model
    torch.manual_seed(SEED)
    reference = get_peft_model(
        plain(base),
        LoraConfig(
            task_type=TASKS[architecture],
            r=4,
            lora_alpha=6,
            use_dora=variant == "dora",
            target_modules=TARGETS[architecture],
            fan_in_fan_out=architecture == "gpt2",
        ),
    ).eval()
    # A fused layer sums in another order; DoRA keeps peft's own forward.
    near = 0 if variant == "dora" else 1e-3
    losses = [torch.tensor(train(model, inputs, steps=2)) for model in (ours, reference)]
    torch.testing.assert_close(*losses, rtol=near / 100, atol=0)
    found, expected = gradients(ours, inputs), gradients(reference, inputs)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        distance = (gradient - expected[name]).norm() / expected[name].norm()
        assert distance <= near, f"{name}: {distance}"


def test_fused_only_on_a_frozen_base_in_the_run_s_precision() -> None:
    from functools import partial

    from luthier_trainer.models.precision import Precision

    def fused(precision: Any, method: str = "lora", **lora: Any) -> int:
        model = tuned(source("llama"), method, precision, lora=lora).model
        return sum(isinstance(vars(m).get("forward"), partial) for m in model.modules())

    assert fused(BF16) == 2 * 7
    assert fused(BF16, targetModules=["q_proj"]) == 2
    assert fused(FP32) == 2 * 7
    assert fused(Precision("fp16")) == 2 * 7
    assert fused(BF16, dropout=0.1) == 2 * 7
    assert fused(BF16, dora=True) == 0
    assert fused(BF16, "qlora") == 2 * 7
    assert fused(BF16, "qlora", dora=True) == 0


def test_the_seed_decides_the_weights() -> None:
    def first(draws: int) -> Tensor:
        torch.rand(draws)
        model = tuned(source("bert"), "lora").model
        weights = [p.flatten() for n, p in model.named_parameters() if p.requires_grad]
        return torch.cat(weights)

    assert torch.equal(first(0), first(5))
