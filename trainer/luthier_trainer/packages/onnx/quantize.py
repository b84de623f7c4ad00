"""The weights of a graph in fewer bits, by ONNX Runtime's own quantisers."""

import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from luthier_api.optimizejob import Int4
from luthier_trainer.packages.onnx.rewrite import (
    embeddings_in_int8,
    linear_nodes,
    odd_blocks,
    weights_first,
)

# Layers that lose most by few bits, as llama.cpp found: values, and what ends attention and MLP.
_SENSITIVE = re.compile(
    r"[./](v|value|v_proj|value_proj|c_attn|qkv_proj|query_key_value|output\.dense|c_proj|"
    r"fc2|wo|down_proj|DenseReluDense\.wo)/"
)
_LAYER = re.compile(r"\.(\d+)\.")


def to_int8(model: Any, heads: Sequence[str], scratch: Path) -> Any:
    """Weights of linear layers in int8, a scale for each output; what goes into them becomes
    int8 when they run. Embeddings: rewrite.embeddings_in_int8. Heads (names of modules),
    adapters and norms stay as they are."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    weights_first(model)
    embeddings_in_int8(model)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, _quiet():
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        _write(model, before)
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # 7 of the 8 bits: without VNNI (as on AVX2 alone) products of two full bytes are
            # added in 16 bits, which overflow, and answers get worse without a word.
            reduce_range=True,
            nodes_to_exclude=linear_nodes(model, lambda name: _kept(name, heads)),
            use_external_data_format=True,
        )
        return _read(after)


def to_int4(model: Any, heads: Sequence[str], scratch: Path, settings: Int4) -> Any:
    """Weights of linear layers in blocks of 4 bits; embeddings, heads, adapters and norms as in
    to_int8. *_mixed: 8 bits for the sensitive layers of some blocks and the output layer;
    *_last: for the output layer."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    weights_first(model)
    embeddings_in_int8(model)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, _quiet():
        before = Path(folder, "before.onnx")
        _write(model, before)
        quantizer = MatMulNBitsQuantizer(
            onnx.load(before),
            block_size=settings.block_size,
            is_symmetric=settings.symmetric,
            accuracy_level=4,  # activations in int8 too: the fast kernels
            nodes_to_exclude=linear_nodes(model, lambda name: _kept(name, heads)),
            algo_config=_algorithm(model, settings),
        )
        quantizer.process()
        found = _loaded(quantizer.model.model)
    found.opset_imports["com.microsoft"] = 1  # which some of its ways forget
    return found


def _algorithm(model: Any, settings: Int4) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        KQuantWeightOnlyQuantConfig,
        RTNWeightOnlyQuantConfig,
    )

    method, _, variant = settings.algorithm.removeprefix("k_").partition("_")
    if method == "default":
        return DefaultWeightOnlyQuantConfig(
            block_size=settings.block_size, is_symmetric=settings.symmetric, accuracy_level=4
        )
    # Zero points of 4 bits go in pairs: its packing fails for an odd number of blocks.
    eight = odd_blocks(model, settings.block_size)
    if variant:
        eight += linear_nodes(model, lambda name: name.startswith("lm_head/"))
    if variant == "mixed":
        layers = 1 + max(map(_layer, linear_nodes(model, lambda _: True)), default=0)
        eight += linear_nodes(
            model, lambda name: bool(_SENSITIVE.search(name)) and _upgraded(_layer(name), layers)
        )
    config = KQuantWeightOnlyQuantConfig if method == "quant" else RTNWeightOnlyQuantConfig
    return config(customized_weight_config={name: {"bits": 8} for name in eight})


def _layer(name: str) -> int:
    found = _LAYER.search(name)
    return int(found[1]) if found else -1


def _upgraded(layer: int, layers: int) -> bool:
    """The first and last eighth, and each third between them: llama.cpp's choice."""
    if layer < 0:
        return False
    edge = layers / 8
    return layer < edge or layer >= 7 * edge or (layer - round(edge)) % 3 == 2


def _kept(name: str, heads: Sequence[str]) -> bool:
    """Small, and worth every bit: heads for a task, and bottleneck adapters."""
    return ".bottleneck." in name or any(name.startswith((f"{h}/", f"{h}.")) for h in heads)


def _write(model: Any, path: Path) -> None:
    import onnx_ir as ir

    ir.save(model, path, external_data=f"{path.name}.data")


def _read(path: Path) -> Any:
    import onnx_ir as ir

    model = ir.load(path)
    ir.external_data.load_to_model(model)
    return model


def _loaded(proto: Any) -> Any:
    import onnx_ir as ir

    model = ir.from_proto(proto)
    ir.external_data.load_to_model(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantisers tell of every node, and advise a preparation that the exporter has done."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        # A progress bar; and k_quant divides by 0 in blocks of equal weights, and takes note.
        with redirect_stdout(StringIO()), np.errstate(divide="ignore", invalid="ignore"):
            yield
    finally:
        logging.disable(before)
