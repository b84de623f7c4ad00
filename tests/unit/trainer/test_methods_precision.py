"""Methods in bf16, with recomputed layers, and on a base in 4 bits."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer
from unit.trainer.cells import (
    BF16,
    CLASSES,
    FP32,
    TRAINED,
    answers,
    batch,
    loss_of,
    main_class,
    plain,
    source,
    spec,
    supported,
    train,
    tuned,
)

from luthier_api.methods import Quantization
from luthier_trainer.errors import TrainerError
from luthier_trainer.methods.apply import tune
from luthier_trainer.models.precision import Precision
from luthier_trainer.models.written import convert

FP16 = Precision("fp16")
MODELS = ("llama", "gpt2", "bert", "t5", "bart")
CELLS = [
    (architecture, method)
    for architecture in MODELS
    for method in TRAINED
    if supported(architecture, main_class(architecture), method)
]


@pytest.mark.parametrize(("architecture", "method"), CELLS)
def test_bf16_is_for_what_is_frozen(architecture: str, method: str) -> None:
    base = source(architecture)
    inputs = batch(architecture, base.head.auto_class)
    expected = answers(plain(base, method, BF16), inputs, torch.bfloat16)
    tuning = tuned(base, method, BF16)
    for name, parameter in tuning.model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32, name
        elif parameter.is_floating_point():  # the rest is packed
            assert parameter.dtype == torch.bfloat16, name
    rate = 1e-3 if method == "full" else 1e-2
    losses = train(tuning.model, inputs, steps=5, rate=rate, autocast=torch.bfloat16)
    assert losses[-1] < losses[0]
    with tuning.base() as model:
        assert torch.equal(answers(model, inputs, torch.bfloat16), expected)


def test_only_what_is_published_is_rounded(tmp_path: Path) -> None:
    """Of a base in bf16 the weights are, and not the frequencies of its positions, which whoever
    loads the result computes anew."""
    base = source("llama")
    folder = Path(shutil.copytree(base.folder, tmp_path / "model"))
    convert(folder, torch.bfloat16)
    tuning = tuned(replace(base, folder=folder), "full", FP32)
    frequencies = tuning.model.model.rotary_emb.inv_freq
    assert not torch.equal(frequencies, frequencies.bfloat16().float())
    before = frequencies.clone()
    with torch.no_grad():
        tuning.model.lm_head.weight += 1e-4
    tuning.settle()
    weight = tuning.model.lm_head.weight
    assert torch.equal(weight, weight.bfloat16().float())
    assert torch.equal(tuning.model.model.rotary_emb.inv_freq, before)


@pytest.mark.parametrize(("architecture", "method"), [c for c in CELLS if c[1] != "full"])
def test_a_frozen_base_is_in_fp16(architecture: str, method: str) -> None:
    """And what is summed up over its layers in fp32, which has no largest number to speak of."""
    base = source(architecture)
    inputs = batch(architecture, base.head.auto_class)
    tuning = tuned(base, method, FP16)
    norms = [m for m in tuning.model.modules() if isinstance(m, torch.nn.LayerNorm)]
    wide = {id(p) for norm in norms for p in norm.parameters()}
    floats = {n: p for n, p in tuning.model.named_parameters() if p.is_floating_point()}
    for name, parameter in floats.items():
        kept = ".wo." in name and "lora_" not in name  # T5's, by transformers
        kept = kept or parameter.requires_grad or id(parameter) in wide
        expected = torch.float32 if kept else torch.float16
        assert parameter.dtype == expected, name
    types = set()
    for module in tuning.model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.register_forward_hook(lambda _, __, out: types.add(out.dtype))
    losses = train(tuning.model, inputs, steps=5, autocast=torch.float16)
    assert losses[-1] < losses[0]
    assert types == {torch.float32}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "t5"])
def test_qlora_s_stream_is_in_bf16(architecture: str) -> None:
    """Between layers, too: 2 bytes a number that is kept for the backward pass."""
    tuning = tuned(source(architecture), "qlora", BF16)
    layers = [m for m in tuning.model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert layers
    types = set()
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, given: types.add(given[0].dtype))
    loss_of_bf16(tuning.model, batch(architecture, main_class(architecture)))
    assert types == {torch.bfloat16}


def loss_of_bf16(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return loss_of(model, inputs)


@pytest.mark.parametrize("precision", [FP32, BF16], ids=["fp32", "bf16"])
def test_fused_layers_on_4_bits_are_peft_s(precision: Precision) -> None:
    base, inputs = source("llama"), batch("llama", main_class("llama"))
    results = []
    for fused in (True, False):
        model = tuned(base, "qlora", precision).model.train()
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        for module in model.modules():
            if not fused and "forward" in vars(module):
                del module.forward
        with torch.autocast("cpu", dtype=precision.dtype, enabled=precision is BF16):
            loss = loss_of(model, inputs)
        torch.autograd.backward(loss)
        results.append((float(loss), {n: p.grad for n, p in model.named_parameters()}))
    (found, found_gradients), (expected, gradients) = results
    near = 1e-5 if precision is FP32 else 2e-2
    assert found == pytest.approx(expected, rel=near)
    for name, gradient in gradients.items():
        if gradient is not None:
            other = found_gradients[name]
            assert other is not None
            assert (other - gradient).norm() <= 5 * near * gradient.norm(), name


@pytest.mark.parametrize(("architecture", "method"), [c for c in CELLS if c[1] != "prefix"])
def test_recomputed_layers_give_the_same_gradients(architecture: str, method: str) -> None:
    base = source(architecture)
    inputs = batch(architecture, base.head.auto_class)
    gradients = []
    for wish in ("Never", "Always"):
        model = tune(spec(method, {"gradientCheckpointing": wish}), base, FP32).model.train()
        if wish == "Always":
            model.activation_checkpointing_enable()
        torch.autograd.backward(loss_of(model, inputs))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    kept, recomputed = gradients
    assert any(gradient is not None and gradient.any() for gradient in kept.values())
    for name, gradient in kept.items():
        other = recomputed[name]
        assert (gradient is None) == (other is None), name
        if gradient is not None and other is not None:
            assert torch.allclose(gradient, other, rtol=1e-4, atol=1e-6), name


def test_prefix_is_refused_with_recomputed_layers() -> None:
    with pytest.raises(TrainerError) as caught:
        tune(spec("prefix", {"gradientCheckpointing": "Always"}), source("llama"), FP32)
    assert caught.value.error.param == "training.gradientCheckpointing"


@pytest.mark.parametrize(
    "quantization",
    [
        {"type": "nf4", "double": False},
        {"type": "fp4"},
        {"computeType": "bf16"},
        {"computeType": "fp16"},
    ],
)
def test_the_4_bit_base_is_as_wished(quantization: dict[str, object]) -> None:
    wish = Quantization.model_validate(quantization)
    model = tuned(source("llama"), "qlora", quantization=quantization).model
    layer = model.get_submodule("base_model.model.model.layers.0.mlp.up_proj.base_layer")
    assert layer.weight.dtype == torch.uint8
    assert layer.weight.quant_type == wish.type
    assert layer.weight.quant_state.nested == wish.double
    expected = {"auto": "float32", "bf16": "bfloat16", "fp16": "float16"}[wish.compute_type]
    assert str(layer.compute_dtype) == f"torch.{expected}"
    losses = train(model, batch("llama", "AutoModelForCausalLM"))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "deberta-v2", "bart"])
def test_heads_and_output_layers_are_not_quantised(architecture: str) -> None:
    for auto_class in (main_class(architecture), CLASSES):
        model = plain(source(architecture, auto_class), "qlora")
        packed = [n for n, p in model.named_parameters() if p.dtype == torch.uint8]
        assert packed
        assert [name for name in packed if not re.search(r"\.(layers?|h)\.\d+\.", name)] == []


def test_evaluating_in_between_changes_nothing_for_qlora() -> None:
    base, inputs = source("llama"), batch("llama", "AutoModelForCausalLM")
    undisturbed = tuned(base, "qlora")
    expected = train(undisturbed.model.train(), inputs, steps=2)
    expected += train(undisturbed.model, inputs, steps=2)
    tuning = tuned(base, "qlora")
    found = train(tuning.model.train(), inputs, steps=2)
    tuning.model.eval()
    with torch.inference_mode():
        tuning.model(**inputs)
    with tuning.base() as model, torch.inference_mode():
        model(**inputs)
    found += train(tuning.model.train(), inputs, steps=2)
    assert found == expected


def test_a_4_bit_module_cannot_be_trained_in_full() -> None:
    with pytest.raises(TrainerError) as caught:
        tuned(
            source("llama"), "qlora", lora={"modulesToSave": ["mlp"], "targetModules": ["q_proj"]}
        )
    assert caught.value.error.code == "ModuleQuantized"
    assert caught.value.error.param == "method.lora.modulesToSave"
