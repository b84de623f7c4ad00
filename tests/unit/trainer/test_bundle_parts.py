"""Adapter files against a graph's inputs, the graph's surgery, keys, and verdicts on proofs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from unit.trainer.bundle_support import SHAPES

from luthier_api.adapterbundle import Bundling
from luthier_trainer.bundle.index import Measured, Proof, adapter_key, base_key
from luthier_trainer.bundle.likeness import likeness
from luthier_trainer.bundle.verdict import judge_likeness, judge_metric
from luthier_trainer.errors import TrainerError
from luthier_trainer.packages.genai import adapterfile
from luthier_trainer.packages.genai.graph import Input, inputs, lora_to_inputs
from luthier_trainer.packages.genai.modules import parameter, peft_key
from luthier_trainer.packages.genai.unfit import UnfitError

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"
GRAPH = {
    parameter(Q, "A"): Input("float32", inputs=8),
    parameter(Q, "B"): Input("float32", outputs=6),
}
Arrays = dict[str, Any]


def good() -> Arrays:
    return {
        parameter(Q, "A"): np.ones((8, 4), np.float32),
        parameter(Q, "B"): np.ones((4, 6), np.float32),
    }


def changed(side: str, value: Any) -> Arrays:
    return {**good(), parameter(Q, side): value}


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({**good(), parameter(DOWN, "A"): np.ones((8, 4), np.float32)}, "InputMismatch"),
        (changed("A", np.ones((8, 4), np.float16)), "InputMismatch"),
        (changed("A", np.ones((9, 4), np.float32)), "InputMismatch"),
        (changed("B", np.ones((4, 7), np.float32)), "InputMismatch"),
        (changed("B", np.ones((5, 6), np.float32)), "InputMismatch"),  # another rank than A
        (changed("B", np.ones(6, np.float32)), "InputMismatch"),
        (changed("B", np.full((4, 6), np.nan, np.float32)), "NotFinite"),
        ({parameter(Q, "A"): np.ones((8, 4), np.float32)}, "InputMismatch"),
    ],
)
def test_what_the_runtime_would_reject_is_found_before(parameters: Arrays, code: str) -> None:
    adapterfile.check(good(), GRAPH)
    with pytest.raises(UnfitError) as raised:
        adapterfile.check(parameters, GRAPH)
    assert raised.value.code == code


def test_b_is_scaled_and_both_are_transposed(tmp_path: Path) -> None:
    a = np.arange(32, dtype=np.float32).reshape(4, 8)
    b = np.arange(24, dtype=np.float32).reshape(6, 4)
    weights = {peft_key(Q, "A"): a, peft_key(Q, "B"): b}
    found = adapterfile.parameters(weights, {"r": 4, "lora_alpha": 12}, GRAPH)
    assert np.array_equal(found[parameter(Q, "A")], a.T)
    assert np.array_equal(found[parameter(Q, "B")], 3 * b.T)
    adapterfile.write(found, tmp_path / "one.onnx_adapter")
    adapterfile.write(dict(reversed(found.items())), tmp_path / "other.onnx_adapter")
    again = adapterfile.read(tmp_path / "one.onnx_adapter")
    assert all(np.array_equal(again[name], found[name]) for name in found)
    # The same weights make the same file.
    one, other = ((tmp_path / f"{name}.onnx_adapter").read_bytes() for name in ("one", "other"))
    assert one == other


@pytest.mark.parametrize("shape", SHAPES)
def test_the_scale_is_that_of_peft(shape: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(**SHAPES[shape]))
    told = model.peft_config["default"].to_dict()
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "lora_A", None), torch.nn.ModuleDict)
    }
    assert layers
    for name, layer in layers.items():
        assert adapterfile.scaling(told, name) == pytest.approx(layer.scaling["default"])
        assert adapterfile.rank_of(told, name) == layer.r["default"]


def template_graph(path: Path) -> None:
    """Q + LoRA of rank 1, as the builder leaves it."""
    names = [parameter(Q, "A"), parameter(Q, "B")]
    weight = np.arange(48, dtype=np.float32).reshape(8, 6)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["plain"]),
            helper.make_node("MatMul", ["x", names[0]], ["small"]),
            helper.make_node("MatMul", ["small", names[1]], ["update"]),
            helper.make_node("Add", ["plain", "update"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.ones((8, 1), np.float32), names[0]),
            numpy_helper.from_array(np.ones((1, 6), np.float32), names[1]),
        ],
        value_info=[helper.make_tensor_value_info("small", TensorProto.FLOAT, ["n", 1])],
    )
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path
    )


def test_any_rank_goes_into_the_graph_and_none_is_the_base(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    template_graph(path)
    lora_to_inputs(path, {Q: (8, 6)})
    assert inputs(path) == GRAPH
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    weight = np.arange(48, dtype=np.float32).reshape(8, 6)
    session = ort.InferenceSession(str(path))
    assert np.allclose(session.run(["y"], {"x": x})[0], x @ weight, rtol=1e-5)
    for rank in (1, 5):
        a, b = np.ones((8, rank), np.float32), np.ones((rank, 6), np.float32)
        adapter = {parameter(Q, "A"): a, parameter(Q, "B"): b}
        found = session.run(["y"], {"x": x, **adapter})[0]
        assert np.allclose(found, x @ weight + x @ a @ b, rtol=1e-4, atol=1e-4)


def test_a_graph_without_a_branch_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    template_graph(path)
    with pytest.raises(TrainerError, match=r"BuildFailed.*layers.1.mlp.down_proj"):
        lora_to_inputs(path, {Q: (8, 6), DOWN: (8, 6)})


def proof(difference: float, kept: float | None, base: float = 0.0, effect: float = 5) -> Proof:
    return Proof(logits_difference=difference, base_difference=base, effect=effect, kept=kept)


@pytest.mark.parametrize(
    ("found", "precision", "passes"),
    [
        (proof(9e-4, 1.0), "fp32", True),
        (proof(2e-3, 1.0), "fp32", False),
        (proof(float("nan"), 1.0), "fp32", False),
        (proof(3.0, 0.9, base=2.0), "int8", True),
        (proof(3.0, 0.4, base=2.0), "int8", False),  # half of it is lost
        (proof(3.0, 1.9, base=2.0), "int8", False),  # applied twice
        (proof(3.0, 0.4, base=2.0, effect=1.9), "int8", True),  # lost in the precision's noise
        (proof(3.0, float("nan")), "int4", False),
        (proof(2.0, None, base=2.0), "int4", True),  # without an effect, as the base
        (proof(2.5, None, base=2.0), "int4", False),
    ],
)
def test_a_verdict_follows_from_the_proof(found: Proof, precision: str, passes: bool) -> None:
    if passes:
        judge_likeness(found, precision)
        return
    with pytest.raises(UnfitError) as raised:
        judge_likeness(found, precision)
    assert raised.value.code == "NotEqual"


@pytest.mark.parametrize(
    ("reported", "value", "allowed", "higher_is_better", "passes"),
    [
        (0.9, 0.89, 0.02, True, True),
        (0.9, 0.87, 0.02, True, False),
        (0.9, 0.1, None, True, True),  # told, not judged
        (1.5, 1.9, 0.0, False, True),  # a loss is told only
    ],
)
def test_a_metric_may_drop_by_what_is_allowed(
    reported: float, value: float, allowed: float | None, higher_is_better: bool, passes: bool
) -> None:
    measured = Measured(
        metric="m",
        higher_is_better=higher_is_better,
        split="test",
        examples=9,
        reported=reported,
        value=value,
    )
    found = proof(0, 1).model_copy(update={"measured": measured})
    if passes:
        judge_metric(found, allowed)
        return
    with pytest.raises(UnfitError, match="raise maxMetricDrop"):
        judge_metric(found, allowed)


def test_noise_of_the_precision_is_no_loss_of_effect() -> None:
    generator = np.random.default_rng(0)

    def drawn(scale: float) -> Any:
        return (scale * generator.standard_normal((64, 500))).astype(np.float32)

    base, effect = drawn(5), drawn(1)
    peft = base + effect
    noisy = base + drawn(2)  # twice the effect
    half = likeness(noisy + 0.5 * effect + drawn(1), peft, noisy, base)
    whole = likeness(noisy + effect + drawn(1), peft, noisy, base)
    assert whole.kept == pytest.approx(1, abs=0.05)
    assert half.kept == pytest.approx(0.5, abs=0.05)
    assert whole.logits_difference > whole.effect
    assert likeness(noisy, base, noisy, base).kept is None


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda spec: spec.update(onIncompatible="Fail"), True),
        (lambda spec: spec.update(maxMetricDrop=0.5), True),
        (lambda spec: spec.update(int4={"algorithm": "rtn"}), True),  # it isn't int4
        (lambda spec: spec.update(precision="int4"), False),
        (lambda spec: spec.update(target={"device": "cuda"}), False),
        (lambda spec: spec["base"].update(uri="s3://models/moved"), True),  # the digest counts
    ],
)
def test_a_part_is_known_by_what_it_was_made_from(change: Change, same: bool) -> None:
    spec: dict[str, Any] = {"base": {"uri": "s3://models/base"}, "precision": "int8"}
    versions = {"onnx": "1", "torch": "2"}
    before = base_key("sha256:a", Bundling.model_validate(spec), versions)
    change(spec)
    bundling = Bundling.model_validate(spec)
    assert (base_key("sha256:a", bundling, versions) == before) is same
    assert base_key("sha256:b", bundling, versions) != before
    assert base_key("sha256:a", bundling, {**versions, "onnx": "2"}) != before
    assert adapter_key(before, {"a": "1", "b": "2"}) == adapter_key(before, {"b": "2", "a": "1"})
    assert adapter_key(before, {"a": "1"}) != adapter_key(before, {"a": "2"})
    assert adapter_key(before, {"a": "1"}) != adapter_key("other", {"a": "1"})
