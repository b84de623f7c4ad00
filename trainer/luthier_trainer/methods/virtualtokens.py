"""Virtual tokens: prompt (https://arxiv.org/abs/2104.08691), prefix
(https://arxiv.org/abs/2101.00190)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from luthier_api.methods import VirtualTokens


def prompt_config(tokens: VirtualTokens, task_type: str | None) -> Any:
    """peft's PromptTuningConfig. The vectors begin as those of tokens drawn at random."""
    from peft import PromptTuningConfig

    return PromptTuningConfig(
        task_type=task_type,
        num_virtual_tokens=tokens.count,
        prompt_tuning_init="SAMPLE_VOCAB",
    )


def prefix_config(base: Any, tokens: VirtualTokens, task_type: str | None) -> Any:
    """peft's PrefixTuningConfig."""
    from peft import PrefixTuningConfig

    config = base.config
    sizes: dict[str, int] = {}
    # The heads' width where it isn't that of the model, in configs that peft doesn't look at.
    if getattr(config, "d_kv", None):
        sizes = {"token_dim": config.d_kv * config.num_heads}
    return PrefixTuningConfig(task_type=task_type, num_virtual_tokens=tokens.count, **sizes)


def generate_with_tokens(model: Any) -> None:
    """Let `model.generate` see the virtual tokens at every step: peft's loses them under this
    version of transformers. Prompts of encoder-decoders are before the source: peft's works."""
    config = model.active_peft_config
    encodes = bool(model.config.is_encoder_decoder)
    if config.peft_type == "PREFIX_TUNING":
        model.generate = partial(_generate_after_prefix, model, encodes)
    elif not encodes and config.task_type == "CAUSAL_LM":
        model.generate = partial(_generate_after_prompt, model)


def _generate_after_prompt(
    model: Any, input_ids: Tensor, attention_mask: Tensor | None = None, **settings: Any
) -> Tensor:
    base = model.get_base_model()
    text = base.get_input_embeddings()(input_ids)
    prompt = model.get_prompt(batch_size=len(input_ids)).to(text.dtype)
    new: Tensor = base.generate(
        inputs_embeds=torch.cat([prompt, text], dim=1),
        attention_mask=_mask(input_ids, attention_mask, prompt.shape[1]),
        **settings,
    )
    return torch.cat([input_ids, new], dim=1)


def _generate_after_prefix(
    model: Any,
    encodes: bool,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """generate skips as many tokens as its cache holds: they stand for the vectors."""
    base = model.get_base_model()
    count = model.active_peft_config.num_virtual_tokens
    cache = model.get_prompt(batch_size=len(input_ids))
    if encodes:
        start = input_ids.new_full((len(input_ids), 1), base.config.decoder_start_token_id)
        found = base.generate(
            input_ids=input_ids,
            attention_mask=_mask(input_ids, attention_mask, 0),
            # All the start token: generate puts one before an answer that begins otherwise.
            decoder_input_ids=start.expand(-1, count + 1),
            past_key_values=cache,
            **settings,
        )
    else:
        found = base.generate(
            input_ids=torch.cat([input_ids.new_zeros(len(input_ids), count), input_ids], dim=1),
            attention_mask=_mask(input_ids, attention_mask, count),
            past_key_values=cache,
            **settings,
        )
    text: Tensor = found[:, count:]
    return text


def _mask(input_ids: Tensor, mask: Tensor | None, count: int) -> Tensor:
    mask = torch.ones_like(input_ids) if mask is None else mask
    return torch.cat([mask.new_ones(len(mask), count), mask], dim=1)
