"""Mixtures of experts: their weights are three-dimensional, and LoRA's `auto` means them too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.cells import FP32, answers, spec, train
from unit.trainer.tiny import HIDDEN, tiny_tokenizer_of

from luthier_trainer.methods.apply import tune
from luthier_trainer.models.heads import Head
from luthier_trainer.models.load import BaseSource

HEAD = Head("AutoModelForCausalLM")
MIXTURES = ("mixtral", "qwen2_moe", "olmoe")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each, with a tokenizer."""
    import transformers as t

    tokenizer = tiny_tokenizer_of("llama")
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "num_experts_per_tok": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    configs: dict[str, Any] = {
        "mixtral": lambda: t.MixtralConfig(**common, num_local_experts=4),
        "qwen2_moe": lambda: t.Qwen2MoeConfig(
            **common,
            num_experts=4,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            decoder_sparse_step=1,
        ),
        "olmoe": lambda: t.OlmoeConfig(**common, num_experts=4),
    }
    made = {}
    for name, config in configs.items():
        made[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        t.AutoModelForCausalLM.from_config(config()).save_pretrained(made[name])
        tokenizer.save_pretrained(made[name])
    return made


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(3, 43).view(2, 20)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


def source(folder: Path) -> BaseSource:
    return BaseSource(folder, HEAD, 32, 7)


@pytest.mark.parametrize("name", MIXTURES)
def test_the_experts_learn_are_saved_and_merged(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    import transformers
    from peft import PeftModel

    tuned = tune(spec("lora", lora={"rank": 4}), source(folders[name]), FP32)
    names = [n for n, p in tuned.model.named_parameters() if p.requires_grad]
    assert any(".experts." in each for each in names)
    assert "gate_up_proj" in tuned.resolved["targetParameters"]
    assert "withoutUpdate" not in tuned.resolved
    before = answers(tuned.model, inputs())
    losses = train(tuned.model, inputs(), steps=3)
    assert losses[-1] < losses[0]
    experts = [p for n, p in tuned.model.named_parameters() if ".experts." in n and "lora_B" in n]
    assert experts
    assert all(bool(each.abs().sum() > 0) for each in experts)
    tuned.model.eval()
    learnt = answers(tuned.model, inputs())
    with tuned.base() as base:
        assert torch.allclose(answers(base, inputs()), before, atol=1e-5)
    tuned.save(tmp_path / "adapter")
    plain = transformers.AutoModelForCausalLM.from_pretrained(folders[name])
    loaded = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert torch.allclose(answers(loaded, inputs()), learnt, rtol=1e-4, atol=1e-4)
    merged = tuned.merge(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(merged.folder).eval()
    assert torch.allclose(answers(model, inputs()), learnt, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("lora", "remedy"),
    [
        ({"dropout": 0.1}, "set method.lora.dropout to 0"),
        ({"dora": True}, "do without method.lora.dora"),
        ({"targetModules": ["q_proj"]}, None),
    ],
)
def test_what_gets_no_update_is_told(
    lora: dict[str, Any],
    remedy: str | None,
    folders: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    tuned = tune(spec("lora", lora=lora), source(folders["mixtral"]), FP32)
    told = tuned.resolved["withoutUpdate"]
    assert "of the layers' weights get no update (" in told
    assert "gate_up_proj" in told
    assert f"warning: method: {told}" in capsys.readouterr().err
    if remedy:
        assert remedy in told
