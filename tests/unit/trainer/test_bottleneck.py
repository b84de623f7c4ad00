"""Bottleneck adapters: where they sit, what they do, what is saved."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from unit.trainer.cells import answers, batch, main_class, plain, source, train, tuned
from unit.trainer.tiny import ARCHITECTURES, DECODERS, HIDDEN, LAYERS

from luthier_trainer.errors import TrainerError
from luthier_trainer.methods.blocks import find_blocks
from luthier_trainer.methods.bottleneck import Bottleneck, load

OUTPUTS = {
    **dict.fromkeys(DECODERS, ("self_attn.o_proj", "mlp.down_proj")),
    **dict.fromkeys(("gpt2", "dialogpt"), ("attn.c_proj", "mlp.c_proj")),
    **dict.fromkeys(("bert", "roberta", "deberta-v2"), ("attention.output.dense", "output.dense")),
    "t5": ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense.wo"),
    "bart": ("self_attn.out_proj", "encoder_attn.out_proj", "fc2"),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_are_found_by_structure(architecture: str) -> None:
    model = plain(source(architecture))
    blocks = find_blocks(model)
    ends = {re.sub(r"^.*?\.\d+\.(layer\.\d+\.)?", "", block.output) for block in blocks}
    assert ends == set(OUTPUTS[architecture])
    sides = 1 if len(OUTPUTS[architecture]) == 2 else 2
    assert sum(block.kind == "mlp" for block in blocks) == LAYERS * sides
    assert sum(block.kind == "attention" for block in blocks) == LAYERS * (2 * sides - 1)
    assert all(len(block.linear) >= 2 for block in blocks)


@pytest.mark.parametrize("architecture", ["phi3", "gpt2", "deberta-v2", "t5", "bart"])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_houlsby_learns_and_comes_back(architecture: str, activation: str, tmp_path: Path) -> None:
    base, inputs = source(architecture), batch(architecture, main_class(architecture))
    settings = {"placement": "houlsby", "reductionFactor": 4, "activation": activation}
    tuning = tuned(base, "adapter", adapter=settings)
    expected = answers(plain(base), inputs)
    assert torch.equal(answers(tuning.model, inputs), expected)  # at first it is the base
    adapters = [m for m in tuning.model.modules() if isinstance(m, Bottleneck)]
    assert len(adapters) == len(find_blocks(plain(base)))
    assert {adapter.down.weight.shape for adapter in adapters} == {(HIDDEN // 4, HIDDEN)}
    losses = train(tuning.model, inputs)
    assert losses[-1] < losses[0]
    tuning.save(tmp_path)
    restored = load(plain(base), tmp_path)
    assert torch.equal(answers(restored, inputs), answers(tuning.model, inputs))


def test_what_is_saved_is_small_and_described(tmp_path: Path) -> None:
    tuned(source("bert"), "adapter").save(tmp_path)
    document = json.loads((tmp_path / "adapter_config.json").read_text())
    assert document["adapter_type"] == "bottleneck"
    assert document["base_model_name_or_path"] == "s3://models/base"
    assert document["sizes"] == {
        f"bert.encoder.layer.{n}.output.dense": HIDDEN // 16 for n in range(LAYERS)
    }
    names = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert {name for name in names if ".bottleneck." not in name} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_another_base_is_refused(tmp_path: Path) -> None:
    tuned(source("llama"), "adapter").save(tmp_path)
    with pytest.raises(ValueError, match="no layer"):
        load(plain(source("gpt2")), tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ValueError, match="no bottleneck adapters"):
        load(plain(source("llama")), tmp_path)


def test_it_cannot_be_merged(tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        tuned(source("llama"), "adapter").merge(tmp_path)
    assert caught.value.error.code == "NotMergeable"


def test_the_formula() -> None:
    torch.manual_seed(0)
    adapter = Bottleneck(6, 2, "tanh")
    nn.init.normal_(adapter.up.weight)
    nn.init.normal_(adapter.up.bias)
    x: Any = torch.randn(3, 6)
    down = torch.tanh(x @ adapter.down.weight.T + adapter.down.bias)
    expected = x + down @ adapter.up.weight.T + adapter.up.bias
    assert torch.allclose(adapter(x), expected)
    adapter.enabled = False
    assert adapter(x) is x
