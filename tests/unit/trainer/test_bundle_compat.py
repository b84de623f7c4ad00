"""What can't be switched is refused before anything is built: with a code, and a remedy."""

from typing import Any

import pytest
from unit.trainer.bundle_support import BASE, CONFIG, DIGEST, tensors

from luthier_trainer.models.header import Tensor
from luthier_trainer.packages.genai.compat import Adapter, check
from luthier_trainer.packages.genai.modules import peft_key
from luthier_trainer.packages.genai.unfit import UnfitError


def adapter(config: dict[str, Any] | None = None, **fields: Any) -> Adapter:
    return Adapter("tone", {**CONFIG, **(config or {})}, **{"tensors": tensors(), **fields})


def with_tensor(key: str, tensor: Tensor) -> dict[str, Tensor]:
    return {**tensors(), key: tensor}


DOWN = "model.layers.1.mlp.down_proj"


@pytest.mark.parametrize(
    "fitting",
    [
        adapter(),
        adapter(base_digest=DIGEST),
        adapter({"base_model_name_or_path": "/a/copy/of/it"}),
        adapter({"use_rslora": True, "lora_alpha": 3}),
        adapter({"rank_pattern": {"down_proj": 2}}, tensors=tensors(2, (DOWN,))),
        adapter({"r": 64}, tensors=tensors(64)),
        adapter(tensors=tensors(modules=("model.layers.1.self_attn.q_proj",))),
        adapter({"init_lora_weights": "gaussian"}),
    ],
)
def test_what_may_differ_fits(fitting: Adapter) -> None:
    check(fitting, BASE)


@pytest.mark.parametrize(
    ("unfit", "code", "says"),
    [
        (adapter({"peft_type": "IA3"}), "NotLora", "IA3"),
        (adapter({"task_type": "SEQ_CLS"}), "NotLanguageModel", "SEQ_CLS"),
        (adapter({"use_dora": True}), "Dora", "set dora to false"),
        (adapter({"bias": "lora_only"}), "Bias", "set bias to none"),
        (adapter({"lora_bias": True}), "Bias", "set bias to none"),
        (adapter({"modules_to_save": ["lm_head"]}), "ModulesToSave", "modulesToSave empty"),
        (adapter({"trainable_token_indices": [1]}), "TrainableTokens", "plain LoRA"),
        (adapter({"target_parameters": ["experts"]}), "TargetParameters", "plain LoRA"),
        (adapter({"layer_replication": [[0, 2]]}), "LayersReplicated", "plain LoRA"),
        (adapter({"alora_invocation_tokens": [5]}), "LoraVariant", "activated"),
        (adapter({"init_lora_weights": "pissa"}), "BaseChanged", "pissa"),
        (adapter(base_digest="sha256:" + "b" * 64), "WrongBase", "bbbbbbbbbbbb"),
        (adapter({"base_model_name_or_path": "owner/other"}), "WrongBase", "owner/other"),
        (adapter(tensors={}), "NoWeights", "no tensor"),
        (
            adapter(tensors=with_tensor("base_model.model.lm_head.weight", Tensor("F32", (8, 8)))),
            "NotLora",
            "lm_head",
        ),
        (
            adapter(tensors=tensors(modules=("model.layers.7.mlp.down_proj",))),
            "UnknownModule",
            "model.layers.7.mlp.down_proj",
        ),
        (
            adapter(tensors=tensors(modules=("model.layers.0.mlp.router",))),
            "ModuleNotSwitchable",
            "targetModules: [auto]",
        ),
        (adapter(tensors=tensors(modules=("lm_head",))), "ModuleNotSwitchable", "lm_head"),
        (adapter({"r": 8}), "WrongRank", "rank 8"),
        (
            adapter(tensors=with_tensor(peft_key(DOWN, "B"), Tensor("F32", (8, 2)))),
            "WrongRank",
            "lora_B of model.layers.1.mlp.down_proj is [8, 2], not [8, 4]",
        ),
        (
            adapter(tensors=with_tensor(peft_key(DOWN, "A"), Tensor("F32", (4, 31)))),
            "WrongShape",
            "[4, 31], not [4, 32]",
        ),
        (
            adapter(tensors=with_tensor(peft_key(DOWN, "A"), Tensor("I8", (4, 32)))),
            "WrongType",
            "I8",
        ),
        (
            adapter(tensors={k: v for k, v in tensors().items() if k != peft_key(DOWN, "B")}),
            "IncompleteWeights",
            "lora_B",
        ),
        (adapter({"r": None}), "BadConfig", "rank and alpha"),
        (adapter({"rank_pattern": {"(": 4}}), "BadConfig", "rank and alpha"),
    ],
)
def test_what_cannot_be_switched_is_refused(unfit: Adapter, code: str, says: str) -> None:
    with pytest.raises(UnfitError) as raised:
        check(unfit, BASE)
    assert raised.value.code == code
    assert says in raised.value.message


def test_a_digest_says_more_than_a_name() -> None:
    check(adapter({"base_model_name_or_path": "owner/renamed"}, base_digest=DIGEST), BASE)
