"""One operation instead of PEFT's dozen: the same outputs, losses and gradients."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from unit.trainer.support import MakeSpec, folder_of

from luthier_trainer.methods.fusedlora import _LoraLinear, fuse_lora

IDS = torch.arange(3, 3 + 24).view(2, 12)
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS}
LINEAR_LAYERS = 2 * 7


def peft_model(dtype: torch.dtype = torch.bfloat16, **lora: Any) -> Any:
    """A two-layer Llama whose update isn't zero; the same weights each time."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
        attn_implementation="eager",
    )
    base = LlamaForCausalLM(config).to(torch.bfloat16).to(dtype)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", **lora}
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn_like(parameter, dtype=torch.float32) * 0.1
            elif name.endswith("bias"):
                parameter.data = torch.randn_like(parameter) * 0.1
    return model.train()


def train_step(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, gradients by name) as the trainer computes them in bf16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**BATCH).loss
    torch.autograd.backward(loss)
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def distance(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_gradient_is_that_of_the_formula(with_bias: bool) -> None:
    torch.manual_seed(0)
    x, a, b = (torch.randn(*s, dtype=torch.float64) for s in [(2, 3, 5), (2, 5), (4, 2)])
    weight, kept = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0.0, 2, 2, 0, 2])
    bias = torch.randn(4, dtype=torch.float64) if with_bias else None
    for tensor in (x, a, b):
        tensor.requires_grad_()
    expected = nn.functional.linear(x, weight, bias) + 1.5 * (x @ a.T @ b.T)

    def found(x: Tensor, a: Tensor, b: Tensor, drops: bool) -> Tensor:
        dropped = x * kept if drops else None
        low = a.detach(), 1.5 * b.detach()
        y: Tensor = _LoraLinear.apply(x, dropped, lambda: weight, bias, a, b, low, 1.5)
        return y

    assert torch.allclose(found(x, a, b, False), expected)
    assert not torch.allclose(found(x, a, b, True), expected)
    for drops in (False, True):
        assert torch.autograd.gradcheck(partial(found, drops=drops), (x, a, b))


def test_as_near_to_fp32_as_peft_in_bf16() -> None:
    reference = peft_model(torch.float32)
    exact_loss = reference(**BATCH).loss
    torch.autograd.backward(exact_loss)
    exact_loss = exact_loss.detach()
    exact = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
    plain_loss, plain = train_step(peft_model())
    model = peft_model()
    assert fuse_lora(model, torch.bfloat16) == LINEAR_LAYERS
    loss, fused = train_step(model)

    assert distance(loss, exact_loss) < 2e-3
    assert distance(loss, plain_loss) < 2e-3
    assert fused.keys() == plain.keys() == exact.keys()
    for name, gradient in fused.items():
        assert gradient.dtype == torch.float32, name
        error = distance(gradient, exact[name])
        assert error < max(0.03, 1.5 * distance(plain[name], exact[name])), name


def test_equals_peft_in_fp32() -> None:
    plain, model = peft_model(torch.float32), peft_model(torch.float32)
    assert fuse_lora(model, torch.float32) == LINEAR_LAYERS
    results = []
    for each in (plain, model):
        loss = each(**BATCH).loss
        torch.autograd.backward(loss)
        results.append((loss.detach(), {n: p.grad for n, p in each.named_parameters()}))
    (expected_loss, expected), (loss, fused) = results
    torch.testing.assert_close(loss, expected_loss, rtol=1e-6, atol=0)
    for name, gradient in fused.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_what_goes_into_the_update(dtype: torch.dtype) -> None:
    """As many of the inputs, and another choice each time; none in an evaluation."""
    model, whole = peft_model(dtype, lora_dropout=0.5), peft_model(dtype)
    for each in (model, whole):
        assert fuse_lora(each, dtype) == LINEAR_LAYERS
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    plain = whole.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0), dtype=dtype)
    x.requires_grad_()
    with torch.no_grad():
        base = plain.base_layer(x)
        expected = plain(x) - base
        torch.manual_seed(1)
        found = torch.stack([layer(x) - base for _ in range(2000)]).float()
    assert not torch.equal(found[0], found[1])
    torch.testing.assert_close(found.mean(0), expected.float(), rtol=0.1, atol=0.03)
    torch.manual_seed(2)
    torch.autograd.backward(layer(x).sum())
    assert x.grad is not None
    model.eval()
    whole.eval()
    with torch.no_grad():
        assert torch.equal(layer(x), plain(x))


def test_the_copies_follow_the_weights() -> None:
    """However they change between two forwards, or two layers' calls."""
    model = peft_model()
    fuse_lora(model, torch.bfloat16)
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    x = torch.randn(1, 4, 32, dtype=torch.bfloat16)
    with torch.inference_mode():
        model(IDS)  # its copies are there when training goes on
    train_step(model)
    weight = layer.lora_B["default"].weight
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    for change in (optimizer.step, lambda: setattr(weight, "data", torch.ones_like(weight))):
        before = layer(x)
        change()
        model(IDS)
        copied = layer(x)
        copies = layer.forward.args[2]
        copies._made.clear()
        assert torch.equal(copied, layer(x))
        assert not torch.equal(copied, before)
    model(IDS)
    with torch.no_grad():
        weight.mul_(2)
    alone = layer(x)
    model(IDS)
    assert torch.equal(layer(x), alone)


def test_the_same_result_each_time_and_with_gradient_checkpointing() -> None:
    results = []
    for checkpointing in (False, False, True):
        model = peft_model()
        fuse_lora(model, torch.bfloat16)
        if checkpointing:
            model.get_base_model().activation_checkpointing_enable()
        results.append(train_step(model))
    for loss, gradients in results[1:]:
        assert torch.equal(loss, results[0][0])
        for name, gradient in gradients.items():
            assert torch.equal(gradient, results[0][1][name]), name


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_resumed_run_equals_an_undisturbed_one(
    make_spec: MakeSpec, tmp_path: Path, capfd: pytest.CaptureFixture[str], precision: str
) -> None:
    from unit.trainer.test_run import keep_until, losses, same_weights

    from luthier_trainer.finetune.run import Run

    fused = {"training": {"precision": precision}, "lora": {"dropout": 0.0}}
    undisturbed = make_spec(output=f"file://{tmp_path}/undisturbed", **fused)
    Run(undisturbed).execute()
    resumed = make_spec(output=f"file://{tmp_path}/resumed", **fused)
    keep_until(10, folder_of(undisturbed), folder_of(resumed))
    Run(resumed).execute()
    assert same_weights(folder_of(resumed), folder_of(undisturbed))
    assert losses(folder_of(resumed)) == losses(folder_of(undisturbed))
    assert capfd.readouterr().err.count(f"{LINEAR_LAYERS} fused layers") == 2


def test_without_its_adapter_it_is_the_base() -> None:
    model = peft_model()
    fuse_lora(model, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        tuned = model(IDS).logits
        with model.disable_adapter():
            off = model(IDS).logits
        base = model.unload()(IDS).logits
    assert torch.equal(off, base)
    assert not torch.equal(tuned, base)


def test_what_is_saved_is_pefts_own(tmp_path: Path) -> None:
    model, plain = peft_model(), peft_model()
    fuse_lora(model, torch.bfloat16)
    saved, expected = get_peft_model_state_dict(model), get_peft_model_state_dict(plain)
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in saved)
    model.save_pretrained(tmp_path / "fused", save_embedding_layers=False)
    plain.save_pretrained(tmp_path / "plain", save_embedding_layers=False)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        fused_bytes = (tmp_path / "fused" / name).read_bytes()
        assert fused_bytes == (tmp_path / "plain" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("dtype", "lora"),
    [
        (torch.float32, {}),  # autocast makes it bf16
        (torch.bfloat16, {"use_dora": True}),
        (torch.bfloat16, {"lora_bias": True}),
    ],
)
def test_all_else_keeps_pefts_forward(dtype: torch.dtype, lora: dict[str, Any]) -> None:
    assert fuse_lora(peft_model(dtype, **lora), torch.bfloat16) == 0


def test_only_the_layers_with_an_update_are_fused() -> None:
    model = peft_model(target_modules=["q_proj", "v_proj"])
    assert fuse_lora(model, torch.bfloat16) == 4


def test_layers_whose_bias_is_trained_are_not_fused() -> None:
    without_bias = 2 * 3  # the MLPs
    assert fuse_lora(peft_model(bias="all"), torch.bfloat16) == without_bias
