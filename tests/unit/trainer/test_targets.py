"""Which modules get an update, and which are trained in full."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.cells import (
    CLASSES,
    TAGS,
    answers,
    batch,
    main_class,
    plain,
    source,
    train,
    tuned,
)
from unit.trainer.tiny import ARCHITECTURES, tiny

from luthier_api.methods import Lora
from luthier_trainer.errors import TrainerError
from luthier_trainer.methods.targets import (
    matched,
    resolve_targets,
    shortest_names,
    trained_in_full,
)


@cache
def base(architecture: str, auto_class: str | None = None) -> Any:
    return plain(source(architecture, auto_class))


def lora(**fields: Any) -> Lora:
    return Lora.model_validate(fields)


GPT2 = ["c_attn", "c_fc", "c_proj"]
LLAMA = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
BERT = ["intermediate.dense", "key", "output.dense", "query", "value"]
DEBERTA = ["intermediate.dense", "key_proj", "output.dense", "query_proj", "value_proj"]
AUTO = {
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"], LLAMA),
    "phi3": ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"],
    **dict.fromkeys(["gpt2", "dialogpt"], GPT2),
    **dict.fromkeys(["bert", "roberta"], BERT),
    "deberta-v2": DEBERTA,
    "t5": ["k", "o", "q", "v", "wi", "wo"],
    "bart": ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"],
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_auto_is_every_linear_layer_of_attention_and_mlp(architecture: str) -> None:
    model = base(architecture, main_class(architecture))
    targets = resolve_targets(model, lora())
    assert targets == AUTO[architecture]
    names = matched(model, targets)
    assert len(names) == len(set(names)) > 2 * 3
    assert not [n for n in names if "pooler" in n or "lm_head" in n or "classifier" in n]


@pytest.mark.parametrize(
    ("architecture", "auto_class", "trained"),
    [
        ("llama", None, []),
        ("bert", None, ["classifier"]),
        ("deberta-v2", None, ["pooler", "classifier"]),
        ("llama", CLASSES, ["score"]),
        ("gpt2", TAGS, ["classifier"]),
        ("bart", CLASSES, ["classification_head"]),
        ("t5", CLASSES, ["classification_head"]),
    ],
)
def test_a_tasks_head_is_trained_in_full(
    architecture: str, auto_class: str | None, trained: list[str]
) -> None:
    model = base(architecture, auto_class)
    assert trained_in_full(model) == trained
    for target in matched(model, resolve_targets(model, lora(targetModules=["all-linear"]))):
        assert target.split(".")[0] not in trained


def test_all_linear_has_the_pooler_of_the_base_too() -> None:
    names = matched(base("bert"), resolve_targets(base("bert"), lora(targetModules=["all-linear"])))
    assert "bert.pooler.dense" in names
    assert "classifier" not in names


def test_a_pooler_that_the_checkpoint_lacks_is_trained_in_full(tmp_path: Path) -> None:
    folder = tiny("bert", tmp_path)
    body = plain(source("bert")).bert
    body.pooler = None  # as masked language modelling leaves it
    body.save_pretrained(folder)
    model = plain(replace(source("bert"), folder=folder))
    assert trained_in_full(model) == ["classifier", "bert.pooler.dense"]
    assert trained_in_full(base("bert")) == ["classifier"]


def test_a_pattern_matches_whole_names() -> None:
    model = base("llama")
    pattern = r".*\.1\.self_attn\.[qv]_proj"
    assert resolve_targets(model, lora(targetPattern=pattern)) == pattern
    # A pattern that matches other modules too means their linear layers alone.
    targets = resolve_targets(model, lora(targetPattern=r".*\.0\.mlp.*"))
    assert matched(model, targets) == [
        f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")
    ]


@pytest.mark.parametrize(
    ("settings", "code", "param"),
    [
        ({"targetModules": ["query"]}, "UnknownModule", "targetModules"),
        ({"targetModules": ["lm_head"]}, "UnknownModule", "targetModules"),
        ({"targetPattern": "q_proj"}, "UnknownModule", "targetPattern"),
        ({"targetPattern": "("}, "BadPattern", "targetPattern"),
        ({"targetPattern": ".*(q_proj|lm_head)"}, "NoUpdate", "targetPattern"),
        ({"targetPattern": ".*(q_proj|embed_tokens)"}, "NoUpdate", "targetPattern"),
        ({"targetPattern": r".*\.0\..*"}, "NoUpdate", "targetPattern"),
        ({"targetPattern": ".*proj", "modulesToSave": ["k_proj"]}, "NoUpdate", "targetPattern"),
        ({"bias": "all"}, "NoBias", "bias"),
        ({"bias": "lora_only"}, "NoBias", "bias"),
        ({"modulesToSave": ["classifier"]}, "UnknownModule", "modulesToSave"),
        ({"modulesToSave": ["norm"]}, "AmbiguousModule", "modulesToSave"),
        ({"rankPattern": {"qproj": 4}}, "UnknownModule", "rankPattern"),
        ({"rankPattern": {"*": 4}}, "BadPattern", "rankPattern"),
        ({"alphaPattern": {r"9\.self_attn\.q_proj": 4}}, "UnknownModule", "alphaPattern"),
        (
            {"targetModules": ["q_proj"], "alphaPattern": {"k_proj": 4}},
            "UnknownModule",
            "alphaPattern",
        ),
    ],
)
def test_what_means_nothing_is_refused(settings: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(TrainerError) as caught:
        tuned(source("llama"), "lora", lora=settings)
    assert caught.value.error.code == code
    assert caught.value.error.param == f"method.lora.{param}"


def test_what_a_pattern_cant_update_is_named() -> None:
    with pytest.raises(TrainerError, match=r"matches model.embed_tokens, lm_head: only linear"):
        resolve_targets(base("llama"), lora(targetPattern=".*(q_proj|embed_tokens|lm_head)"))
    with pytest.raises(TrainerError, match="matches classifier: only"):
        resolve_targets(base("bert"), lora(targetPattern=".*(query|classifier)"))


def test_biases_of_a_head_are_trained_anyway_and_those_of_other_modules_are_named() -> None:
    with pytest.raises(TrainerError, match=r"NoBias.*set it to none"):
        tuned(source("t5", TAGS), "lora", lora={"bias": "all"})
    with pytest.raises(TrainerError, match=r"NoBias.*set bias to all"):
        tuned(source("qwen2"), "lora", lora={"bias": "lora_only", "targetModules": ["o_proj"]})


def test_the_settings_of_lora_reach_its_layers() -> None:
    settings = {
        "rank": 4,
        "alpha": 8,
        "dropout": 0.25,
        "rankPattern": {r"0\.self_attn\.q_proj": 2},
        "alphaPattern": {"v_proj": 16},
        "rankStabilized": True,
        "dora": True,
        "bias": "none",
        "modulesToSave": ["embed_tokens"],
    }
    model = tuned(source("llama"), "lora", lora=settings).model
    layers = "base_model.model.model.layers"
    first = model.get_submodule(f"{layers}.0.self_attn.q_proj")
    second = model.get_submodule(f"{layers}.1.self_attn.q_proj")
    value = model.get_submodule(f"{layers}.1.self_attn.v_proj")
    assert (first.r["default"], second.r["default"]) == (2, 4)
    assert first.scaling["default"] == pytest.approx(8 / 2**0.5)
    assert value.scaling["default"] == pytest.approx(16 / 4**0.5)
    assert second.lora_dropout["default"].p == 0.25
    assert second.lora_variant
    trained = {n for n, p in model.named_parameters() if p.requires_grad and "lora" not in n}
    assert trained == {"base_model.model.model.embed_tokens.modules_to_save.default.weight"}


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_are_trained_and_go_back(bias: str) -> None:
    base_model, inputs = source("gpt2"), batch("gpt2", "AutoModelForCausalLM")
    expected = answers(plain(base_model), inputs)
    tuning = tuned(base_model, "lora", lora={"bias": bias, "targetModules": ["c_attn"]})
    trained = {n for n, p in tuning.model.named_parameters() if p.requires_grad and "bias" in n}
    assert any("mlp" in name for name in trained) == (bias == "all")
    train(tuning.model, inputs)
    with tuning.base() as model:
        assert torch.equal(answers(model, inputs), expected)
    assert not torch.equal(answers(tuning.model, inputs), expected)


def test_shortest_names_mean_no_other() -> None:
    every = ["a.0.x.dense", "a.1.x.dense", "pooler.dense", "a.0.y.dense", "a.1.y.dense"]
    assert shortest_names(every, every) == ["dense"]
    assert shortest_names(["a.0.x.dense", "a.1.x.dense"], every) == ["x.dense"]
    assert shortest_names(["a.1.x.dense"], every) == ["1.x.dense"]
