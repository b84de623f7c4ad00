"""A merge holds the base once, in the type that it is stored in, and computes in fp32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.cells import FP32, answers, batch, main_class, train, tuned
from unit.trainer.tiny import tiny_folder

from luthier_trainer.methods import merge as merging
from luthier_trainer.methods.exact import exact
from luthier_trainer.models.heads import Head
from luthier_trainer.models.load import BaseSource, stored_type

ARCHITECTURES = ("llama", "gpt2", "t5", "deberta-v2", "gemma2")


def stored(architecture: str, folder: Path, dtype: torch.dtype) -> BaseSource:
    """The tiny model with its weights in a type of 16 bits."""
    import transformers

    auto_class = main_class(architecture)
    if auto_class == "AutoModelForSequenceClassification":
        auto_class = "AutoModel"
    model = getattr(transformers, auto_class).from_pretrained(tiny_folder(architecture))
    model.to(dtype).save_pretrained(folder)
    return BaseSource(folder, Head(auto_class), 32, 7, dropout=0.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_forward_pass_is_that_of_fp32(architecture: str, tmp_path: Path) -> None:
    base = stored(architecture, tmp_path, torch.bfloat16)
    assert stored_type(base.folder) == torch.bfloat16
    inputs = batch(architecture, base.head.auto_class)
    expected = answers(base.load_as(torch.float32).eval(), inputs)
    model = base.load_as(torch.bfloat16).eval()
    types = {name: weight.dtype for name, weight in model.named_parameters()}
    found = merging._answers(model, inputs)
    # Gemma scales its embeddings by a number that it rounds to the type it is loaded in.
    most = 1e-3 if architecture == "gemma2" else 1e-5
    torch.testing.assert_close(found, expected, rtol=0, atol=most * float(expected.abs().max()))
    if architecture != "deberta-v2":  # it reads weights beside their modules
        assert {name: weight.dtype for name, weight in model.named_parameters()} == types


def test_one_layer_at_a_time_is_in_fp32(tmp_path: Path) -> None:
    model = stored("llama", tmp_path, torch.bfloat16).load_as(torch.bfloat16).eval()
    seen = []

    def count(*_: Any) -> None:
        seen.append(sum(p.numel() for p in model.parameters() if p.dtype == torch.float32))

    for layer in model.model.layers:
        layer.self_attn.register_forward_pre_hook(count)
    with exact(model), torch.no_grad():
        model(input_ids=torch.ones(1, 4, dtype=torch.long))
    one = sum(p.numel() for p in model.model.layers[0].parameters())
    assert seen == [one, one]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_it_never_loads_the_base_in_fp32(
    method: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = stored("llama", tmp_path / "base", dtype)
    inputs = batch("llama", base.head.auto_class)
    tuning = tuned(base, method, FP32)
    train(tuning.model, inputs, steps=4, rate=0.1 if method == "ia3" else 0.02)
    expected = answers(tuning.model.eval(), inputs)
    loaded = []
    load_as = BaseSource.load_as

    def remembered(self: BaseSource, kind: torch.dtype) -> Any:
        loaded.append(kind)
        return load_as(self, kind)

    monkeypatch.setattr(BaseSource, "load_as", remembered)
    merged = tuning.merge(tmp_path / "model")
    assert loaded == [dtype, dtype]  # the second time the result, to compare
    assert merged.warning is None
    model = BaseSource(tmp_path / "model", base.head, 32, 7).load_as(torch.float32).eval()
    assert stored_type(tmp_path / "model") == dtype
    scale = float(expected.abs().max())
    assert float((answers(model, inputs) - expected).abs().max()) < 0.05 * scale
