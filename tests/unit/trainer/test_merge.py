"""A merged model answers as base and adapter do, and is a plain transformers model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from unit.trainer.cells import (
    CLASSES,
    FP32,
    answers,
    batch,
    main_class,
    plain,
    reload,
    source,
    train,
    tuned,
)
from unit.trainer.tiny import ARCHITECTURES, tiny

import luthier_trainer.methods.merge as merging
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.load import BaseSource

SETTINGS: list[dict[str, Any]] = [
    {"dora": True},
    {"rankStabilized": True, "rankPattern": {"c_attn": 4}},
    {"alphaPattern": {"c_attn": 64, r"h\.0\.mlp\.c_fc": 8}},
    {"bias": "all"},
    {"bias": "lora_only"},
    {"dora": True, "bias": "all", "rankPattern": {"c_attn": 4}, "alphaPattern": {"c_fc": 8}},
]


def check_merge(base: BaseSource, architecture: str, method: str, to: Path, **fields: Any) -> Any:
    """Train, merge, and load the merged model with transformers alone; returns it."""
    import transformers
    from peft import PeftModel

    inputs = batch(architecture, base.head.auto_class)
    tuning = tuned(base, method, **fields)
    train(tuning.model, inputs)
    tuning.save(to / "adapter")
    expected = answers(PeftModel.from_pretrained(plain(base), to / "adapter").eval(), inputs)
    if method != "qlora":  # which learns on the base in 4 bits
        assert torch.allclose(answers(tuning.model, inputs), expected, rtol=1e-4, atol=1e-4)
    merged = tuning.merge(to / "model")
    assert merged.folder == to / "model"
    assert 0 <= merged.difference < 1e-3
    auto_class = getattr(transformers, base.head.auto_class)
    model = auto_class.from_pretrained(to / "model").eval()
    assert torch.allclose(answers(model, inputs), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, answers(plain(base), inputs), atol=1e-2)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", ["lora", "qlora", "ia3"])
def test_every_architecture(architecture: str, method: str, tmp_path: Path) -> None:
    check_merge(source(architecture), architecture, method, tmp_path)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "t5", "bart"])
def test_classifiers(architecture: str, tmp_path: Path) -> None:
    base = source(architecture, CLASSES)
    model = check_merge(base, architecture, "lora", tmp_path)
    assert model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_settings_of_lora(method: str, settings: dict[str, Any], tmp_path: Path) -> None:
    check_merge(source("gpt2"), "gpt2", method, tmp_path, lora=settings)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_attention_with_the_last_norm_and_a_tied_output_layer(method: str, tmp_path: Path) -> None:
    """DialoGPT's usual settings; its MLPs have a c_proj, too."""
    base, saved = source("dialogpt"), ["ln_f", "lm_head"]
    settings = {"targetModules": ["c_attn", "c_proj"], "modulesToSave": saved, "dropout": 0.1}
    model = check_merge(base, "dialogpt", method, tmp_path, lora=settings)
    before, after = plain(base).state_dict(), model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    updated = {name for name in before if name.endswith(("c_attn.weight", "c_proj.weight"))}
    in_full = {"transformer.ln_f.weight", "transformer.ln_f.bias", "lm_head.weight"}
    assert changed == updated | in_full


@pytest.mark.parametrize("module", ["lm_head", "wte"])
def test_a_tied_output_layer_that_was_trained_survives(module: str, tmp_path: Path) -> None:
    settings = {"modulesToSave": [module], "targetModules": ["c_attn"]}
    model = check_merge(source("dialogpt"), "dialogpt", "lora", tmp_path, lora=settings)
    output, inputs = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert not torch.equal(output, inputs)
    assert not model.config.tie_word_embeddings
    original = plain(source("dialogpt")).get_input_embeddings().weight
    assert torch.equal(inputs, original) == (module == "lm_head")
    assert torch.equal(output, original) == (module == "wte")


def in_bf16(folder: Path) -> BaseSource:
    """A llama whose weights are so."""
    base = BaseSource(tiny("llama", folder), source("llama").head, 32, 7)
    half = base.load(FP32).to(torch.bfloat16)
    half.config.use_cache = True
    half.save_pretrained(folder)
    return base


def test_it_is_saved_in_the_bases_own_type_and_generates_with_a_cache(tmp_path: Path) -> None:
    base = in_bf16(tmp_path / "base")
    tuning = tuned(base, "lora")
    train(tuning.model, batch("llama", main_class("llama")))
    merged = tuning.merge(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert merged.difference > 0
    assert merged.warning is None
    assert json.loads((tmp_path / "model" / "config.json").read_text())["use_cache"] is True
    assert tuning.model.config.use_cache is False


def test_what_the_bases_type_would_round_away_is_kept_in_fp32(tmp_path: Path) -> None:
    base, inputs = in_bf16(tmp_path / "base"), batch("llama", main_class("llama"))
    tuning = tuned(base, "lora")
    train(tuning.model, inputs, rate=1e-4)
    merged = tuning.merge(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert merged.warning
    assert "bfloat16, would round" in merged.warning
    model = BaseSource(tmp_path / "model", base.head, 32, 7).load(FP32).eval()
    found, expected, before = (
        answers(each, inputs) for each in (model, tuning.model.eval(), plain(base))
    )
    assert (found - expected).norm() < 0.01 * (expected - before).norm()


def test_to_keep_it_in_fp32_needs_no_more_memory(tmp_path: Path) -> None:
    """A layer at a time is in memory, whatever the type."""
    base = in_bf16(tmp_path / "base")
    tuning = tuned(base, "lora")
    train(tuning.model, batch("llama", main_class("llama")), rate=1e-4)
    tuning.merge(tmp_path / "model", 1)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_the_weights_are_those_of_peft_s_merge_in_fp32(
    method: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """But for the rounding, which is the type's."""
    from peft import PeftModel

    base = in_bf16(tmp_path / "base")
    base.load_as(dtype).save_pretrained(base.folder)
    tuning = tuned(base, method)
    train(tuning.model, batch("llama", main_class("llama")), rate=0.01)
    tuning.save(tmp_path / "adapter")
    whole = PeftModel.from_pretrained(base.load_as(torch.float32), tmp_path / "adapter")
    expected = whole.merge_and_unload().state_dict()
    tuning.merge(tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    changed = 0
    before = load_file(base.folder / "model.safetensors")
    for name, weight in found.items():
        assert torch.equal(weight, expected[name].to(dtype)), name
        changed += not torch.equal(weight, before[name])
    assert changed >= 6


def test_an_adapter_that_changes_nothing_has_nothing_to_lose(tmp_path: Path) -> None:
    merged = tuned(in_bf16(tmp_path / "base"), "lora").merge(tmp_path / "model")
    assert merged.warning is None


def test_a_merge_without_its_adapter_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it changes less than a fault may."""
    base = source("llama")
    tuning = tuned(base, "lora")
    train(tuning.model, batch("llama", main_class("llama")), rate=5e-6)

    monkeypatch.setattr(merging, "_put_merged", lambda *_: None)
    with pytest.raises(TrainerError, match="it lacks 100% of what the adapter changes"):
        tuning.merge(tmp_path / "model")


def test_another_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = tuned(source("llama"), "lora")
    train(tuning.model, batch("llama", main_class("llama")))
    monkeypatch.setattr(merging, "save_model", _save_with_a_fault)
    with pytest.raises(TrainerError) as caught:
        tuning.merge(tmp_path / "model")
    assert caught.value.error.code == "MergeMismatch"


def _save_with_a_fault(model: Any, base: Path, folder: Path) -> None:
    from luthier_trainer.models.save import save_model

    with torch.no_grad():
        model.get_output_embeddings().weight[3] += 1
    save_model(model, base, folder)


@pytest.mark.parametrize("method", ["full", "prefix", "prompt"])
def test_others_cannot_be_merged(method: str, tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        tuned(source("llama"), method).merge(tmp_path)
    assert caught.value.error.code == "NotMergeable"


@pytest.mark.parametrize("settings", [{}, *SETTINGS], ids=repr)
def test_an_adapter_of_qlora_fits_the_4_bit_base_too(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    base, inputs = source("gpt2"), batch("gpt2", main_class("gpt2"))
    tuning = tuned(base, "qlora", lora=settings)
    before = answers(plain(base, "qlora"), inputs)
    train(tuning.model, inputs)
    tuning.save(tmp_path / "adapter")
    again = answers(reload(base, "qlora", tmp_path / "adapter"), inputs)
    assert torch.allclose(again, answers(tuning.model, inputs), rtol=0, atol=1e-5)
    with tuning.base() as model:
        assert torch.allclose(answers(model, inputs), before, rtol=0, atol=1e-5)
