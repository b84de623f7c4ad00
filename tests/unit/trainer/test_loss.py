"""Logits only where the loss counts: the same loss and gradients as the plain forward."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from luthier_trainer.objectives.collate import collate, count_targets
from luthier_trainer.objectives.loss import causal_loss, takes_logits_to_keep
from luthier_trainer.objectives.tokens import Tokens

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "phi3": Phi3Config(**SIZES),
    # Its forward caps the logits: computed by hand, behind the forward, they would differ.
    "gemma2": Gemma2Config(**SIZES, final_logit_softcapping=0.5),
    "gpt2": GPT2Config(
        vocab_size=96, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    ),
    "gpt_neox": GPTNeoXConfig(
        **{**SIZES, "num_key_value_heads": None, "head_dim": None}, hidden_dropout=0
    ),
}


def example(prompt: int, completion: int, learn_prompt: bool = False) -> Tokens:
    ids = [3 + (prompt * 7 + i * 5) % 90 for i in range(prompt + completion)]
    return Tokens(ids[:prompt], ids[prompt:], learn_prompt)


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager")
    model = get_peft_model(
        base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:  # zeros at first: then lora_A has no gradient
            torch.nn.init.normal_(parameter)
    return model


def plain_loss(model: Any, batches: list[dict[str, Tensor]]) -> Tensor:
    """Mean over all targets, from the logits at every position of every row by itself."""
    total, count = torch.zeros(()), 0
    for batch in batches:
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            length = int(mask.sum())
            logits = model(input_ids=ids[None, :length], use_cache=False).logits[0]
            for position in range(1, length):
                if labels[position] != -100:
                    total = total - logits[position - 1].log_softmax(-1)[labels[position]]
                    count += 1
    return total / count


def gradients(model: Any) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("learn_prompt", [False, True])
def test_equals_the_plain_forward(name: str, learn_prompt: bool) -> None:
    """Two batches of one optimiser step, with prompts and completions of many lengths."""
    model = model_of(name)
    batches = [
        collate([example(5, 2, learn_prompt), example(9, 4, learn_prompt)], pad_id=0),
        collate([example(3, 1, learn_prompt), example(12, 3, learn_prompt)], pad_id=0),
    ]
    expected = plain_loss(model, batches)
    torch.autograd.backward(expected)
    expected_gradients = gradients(model)
    model.zero_grad()

    count = sum(count_targets(batch["labels"]) for batch in batches)
    sparse = takes_logits_to_keep(model.get_base_model())
    losses = [causal_loss(model, batch, sparse, count) for batch in batches]
    torch.autograd.backward(sum(losses, torch.zeros(())))

    torch.testing.assert_close(sum(losses, torch.zeros(())), expected, rtol=2e-5, atol=1e-6)
    found = gradients(model)
    assert found.keys() == expected_gradients.keys()
    for parameter, gradient in expected_gradients.items():
        assert gradient.abs().max() > 0, parameter
        torch.testing.assert_close(found[parameter], gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_without_logits_to_keep_it_is_the_same(name: str) -> None:
    model = model_of(name)
    batch = collate([example(5, 2), example(9, 4)], pad_id=0)
    count = count_targets(batch["labels"])
    torch.testing.assert_close(
        causal_loss(model, batch, True, count), causal_loss(model, batch, False, count)
    )


def test_the_usual_architectures_take_logits_to_keep() -> None:
    assert all(takes_logits_to_keep(model_of(name).get_base_model()) for name in CONFIGS)
