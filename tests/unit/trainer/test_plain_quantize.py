"""Weights in fewer bits: what becomes smaller, what stays, and what it costs."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from unit.trainer.plain_support import CAUSAL, CLASSES, SEQ2SEQ, batch, opened, package, source_of

from luthier_api.optimizejob import Int4, Optimizing
from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.packages.onnx.build import OnnxBuilder
from luthier_trainer.packages.onnx.quantize import to_int4
from luthier_trainer.pod.interrupt import Interrupt


def _graph(folder: Path, name: str = "model") -> Any:
    return onnx.load(folder / f"{name}.onnx").graph


def _floats(graph: Any) -> dict[str, tuple[int, ...]]:
    """Weights with two dimensions that are still fp32."""
    return {
        each.name: tuple(each.dims)
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT and len(each.dims) == 2 and each.dims[1] > 1
    }


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.onnx"))


@pytest.mark.parametrize(
    ("architecture", "auto_class", "precision", "far"),
    [
        ("bert", CLASSES, "int8", 0.05),
        ("bert", CLASSES, "int4", 0.25),
        ("deberta-v2", CLASSES, "int8", 0.05),
        ("gpt2", CAUSAL, "int8", 0.05),
        ("gpt2", CAUSAL, "int4", 0.25),
    ],
)
def test_answers_stay_near(architecture: str, auto_class: str, precision: str, far: float) -> None:
    """`far`: of the largest logit, on average."""
    source = source_of(architecture, auto_class)
    model, found_of = source.load(), opened(source, precision)
    ids, mask = batch(model, [20, 7, 13])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits
    found = found_of(input_ids=ids, attention_mask=mask).logits
    if auto_class == CAUSAL:
        expected, found = expected[mask == 1], found[mask == 1]
    distance = (expected - found).abs().mean() / expected.abs().max()
    assert 0 < distance < far
    assert _bytes(package(source, precision)) < 0.6 * _bytes(package(source))


def test_int8_keeps_what_is_small() -> None:
    graph = _graph(package(source_of("bert", CLASSES), "int8"))
    assert _floats(graph) == {
        "model.classifier.weight.transposed": (32, 3),
        "model.bert.embeddings.token_type_embeddings.weight": (2, 32),
    }
    operators = Counter(node.op_type for node in graph.node)
    assert operators["MatMulInteger"] == 2 * 6 + 1  # the linear layers, and the pooler's
    assert operators["LayerNormalization"] == 5
    scales = [each for each in graph.initializer if each.name.endswith("_scale")]
    assert {tuple(each.dims) for each in scales} >= {(32,), (64,)}  # one for each output


def test_adapters_keep_their_bits() -> None:
    graph = _graph(package(source_of("bert", CLASSES, bottleneck=True), "int8"))
    kept = _floats(graph)
    assert len(kept) == 2 + 2 * 2  # head and kinds of segments; down and up of two adapters


def test_a_tied_output_layer_is_quantised_too() -> None:
    graph = _graph(package(source_of("dialogpt", CAUSAL), "int8"))
    assert not _floats(graph)
    assert "Transpose" not in {node.op_type for node in graph.node if "lm_head" in node.name}


@pytest.mark.parametrize("architecture", ["t5", "bart"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_encoder_decoders(architecture: str, precision: str) -> None:
    source = source_of(architecture, SEQ2SEQ)
    model, found_of = source.load(), opened(source, precision)
    ids, mask = batch(model, [20, 7])
    given = batch(model, [9, 9])[0]
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": given}
    with torch.no_grad():
        expected = model(**inputs).logits
    distance = (expected - found_of(**inputs).logits).abs().mean() / expected.abs().max()
    assert 0 < distance < (0.05 if precision == "int8" else 0.25)
    assert _bytes(package(source, precision)) < 0.6 * _bytes(package(source))


@pytest.mark.parametrize(
    "algorithm", ["default", "rtn", "rtn_last", "k_quant", "k_quant_mixed", "k_quant_last"]
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_way_to_4_bits(algorithm: Any, symmetric: bool, tmp_path: Path) -> None:
    import onnx_ir
    import onnxruntime

    file = package(source_of("gpt2", CAUSAL)) / "model.onnx"
    settings = Int4(algorithm=algorithm, symmetric=symmetric, block_size=16)
    found = to_int4(onnx_ir.load(file), [], tmp_path, settings)
    onnx_ir.save(found, tmp_path / "model.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"))
    bits = {
        node.name: node.attributes.get_int("bits", 4)
        for node in found.graph
        if node.op_type == "MatMulNBits"
    }
    assert len(bits) == 9
    eight = sorted(name for name, each in bits.items() if each == 8)
    output = [name for name in bits if name.startswith("lm_head/")]
    if algorithm.endswith("mixed"):
        assert set(output) < set(eight)
        assert all("c_attn" in name or "c_proj" in name for name in set(eight) - set(output))
    else:
        assert eight == (output if algorithm.endswith("last") else [])


def test_odd_blocks_take_8_bits(tmp_path: Path) -> None:
    """ONNX Runtime can't pack their zero points."""
    import onnx_ir

    file = package(source_of("gpt2", CAUSAL)) / "model.onnx"
    settings = Int4(algorithm="k_quant", block_size=32)
    found = to_int4(onnx_ir.load(file), [], tmp_path, settings)
    for node in found.graph:
        if node.op_type == "MatMulNBits":
            one_block = node.attributes.get_int("K") == 32
            assert node.attributes.get_int("bits") == (8 if one_block else 4)


@pytest.mark.parametrize(("architecture", "auto_class"), [("bert", CLASSES), ("gpt2", CAUSAL)])
def test_fp16(architecture: str, auto_class: str) -> None:
    """For CUDA; ONNX Runtime computes it here in fp32, on weights that were rounded."""
    source = source_of(architecture, auto_class)
    model, found_of = source.load(), opened(source, "fp16")
    ids, mask = batch(model, [20, 7, 13])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits
    found = found_of(input_ids=ids, attention_mask=mask).logits
    assert found.dtype == torch.float32
    if auto_class == CAUSAL:
        expected, found = expected[mask == 1], found[mask == 1]
    assert 0 < (expected - found).abs().max() < 0.05
    half, whole = (_bytes(package(source, each)) for each in ("fp16", "fp32"))
    assert half < 0.65 * whole


@pytest.mark.parametrize(
    ("device", "precision", "there"),
    [
        ("cpu", "fp16", "fp32, int8 or int4"),
        ("cpu", "bf16", "fp32, int8 or int4"),
        ("cuda", "int4", "fp32 or fp16"),
        ("dml", "int8", "fp32 or fp16"),
    ],
)
def test_what_a_device_lacks_is_refused_by_name(device: str, precision: str, there: str) -> None:
    made = OnnxBuilder(
        Optimizing.model_validate({"target": {"device": device}}), Interrupt(grace_seconds=1)
    )
    assert precision not in made.automatic(source_of("bert", CLASSES))
    with pytest.raises(TrainerError, match=f"for {device} can't be made in {precision}") as refusal:
        made.require(precision)
    assert there in refusal.value.error.message
    assert refusal.value.error.param == "precisions"
    assert refusal.value.exit_code == ExitCode.UNSUPPORTED
