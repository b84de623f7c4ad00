"""What int4 can't be made of is told from config.json, before anything is built; and only that."""

import logging
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    KQuantWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
    RTNWeightOnlyQuantConfig,
)

from luthier_api.optimizejob import Int4, Optimizing
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.heads import Head
from luthier_trainer.optimize.load import _precisions
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.genai.base import read_base
from luthier_trainer.packages.genai.build import GenaiBuilder
from luthier_trainer.packages.genai.int4blocks import int4_refusal

ODD = '{"architectures": ["LlamaForCausalLM"], "hidden_size": 80, "num_attention_heads": 5}'
BLOCKS = get_args(Int4.model_fields["block_size"].annotation)


def quantizes(inputs: int, int4: Int4) -> bool:
    """Whether the quantiser that onnxruntime-genai's builder calls takes a matrix so."""
    weight = np.random.default_rng(0).standard_normal((inputs, 8)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8]),
    ]
    graph = helper.make_graph(
        [node], "g", values[:1], values[1:], [numpy_helper.from_array(weight, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    config: Any = {"k_quant": KQuantWeightOnlyQuantConfig, "rtn": RTNWeightOnlyQuantConfig}.get(
        int4.algorithm, DefaultWeightOnlyQuantConfig
    )()
    for name in ("block_size", "is_symmetric"):
        if int4.algorithm == "default":
            setattr(config, name, getattr(int4, name.removeprefix("is_")))
    try:
        MatMulNBitsQuantizer(
            onnx.ModelProto.FromString(model.SerializeToString()),
            block_size=int4.block_size,
            is_symmetric=int4.symmetric,
            accuracy_level=4,
            algo_config=config,
        ).process()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("algorithm", ["default", "rtn", "k_quant"])
def test_the_rule_is_the_quantisers_own(algorithm: Any) -> None:
    logging.disable(logging.ERROR)
    try:
        for block, symmetric, inputs in product(BLOCKS, (True, False), (64, 80, 108, 256)):
            int4 = Int4(algorithm=algorithm, block_size=block, symmetric=symmetric)
            refused = int4_refusal({"hidden_size": inputs}, int4)
            assert (refused is None) == quantizes(inputs, int4), (block, symmetric, inputs)
    finally:
        logging.disable(logging.NOTSET)


def test_the_words_name_the_matrix_the_blocks_and_what_to_set() -> None:
    config = {"hidden_size": 80, "num_attention_heads": 5, "intermediate_size": 108}
    told = int4_refusal(config, Int4())
    assert told == (
        "int4 by k_quant_mixed packs blocks of 32 weights in pairs, and the 80 inputs of q_proj, "
        "k_proj, v_proj, gate_proj, up_proj (hidden_size) come to 3, an odd number: set "
        "int4.blockSize to 64, or int4.algorithm to default"
    )
    assert int4_refusal(config, Int4(block_size=64)) is None
    assert int4_refusal(config, Int4(algorithm="default")) is None
    assert "down_proj" in str(int4_refusal({**config, "hidden_size": 64}, Int4(block_size=16)))
    wide = {"hidden_size": 64, "num_attention_heads": 5, "head_dim": 16}
    assert "o_proj" in str(int4_refusal(wide, Int4()))
    assert int4_refusal({"text_config": config}, Int4()) == told
    for odd in ({}, {"hidden_size": "80"}, {"hidden_size": -80}, {"text_config": 3}):
        assert int4_refusal(odd, Int4()) is None, "what a config doesn't tell is left to others"


def test_it_is_told_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(ODD)
    source = Source(tmp_path, Head("AutoModelForCausalLM"), "sha256:0", 0)
    builder = GenaiBuilder(Optimizing())
    with pytest.raises(TrainerError, match="packs blocks of 32 weights in pairs") as failure:
        _precisions(["int8", "int4"], builder, source)
    assert (failure.value.error.code, failure.value.error.param) == (
        "PrecisionNotSupported",
        "int4",
    )
    assert _precisions(["auto"], builder, source) == ["fp32", "int8"]
    with pytest.raises(TrainerError, match="packs blocks of 32 weights in pairs"):
        read_base(tmp_path, "s3://b/m", "sha256:0", Int4())
