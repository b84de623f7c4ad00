"""Models as they come: bare, or wrapped by peft or for several devices."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def unwrapped(model: Any) -> Any:
    """The model of transformers within."""
    while True:
        if hasattr(model, "get_base_model"):  # peft
            model = model.get_base_model()
        elif isinstance(getattr(model, "module", None), nn.Module):  # DDP
            model = model.module
        else:
            return model


def takes(model: nn.Module, argument: str) -> bool:
    """Whether the forward of the model of transformers has this argument."""
    return argument in inspect.signature(unwrapped(model).forward).parameters


def virtual_tokens(model: Any) -> int:
    """Vectors that peft puts before the embeddings of every text: those of prompt tuning
    get logits too, those of prefix tuning are only in the cache."""
    if not is_prompted(model):
        return 0
    kind = str(model.active_peft_config.peft_type.value)
    return 0 if kind == "PREFIX_TUNING" else virtual_positions(model)


def virtual_positions(model: Any) -> int:
    """Positions that a text begins behind: those of prompt and of prefix tuning."""
    return int(model.active_peft_config.num_virtual_tokens) if is_prompted(model) else 0


def is_prompted(model: Any) -> bool:
    """Whether the method is prompt or prefix tuning: these take no cache of ours."""
    config = getattr(model, "active_peft_config", None)
    return bool(config is not None and config.is_prompt_learning)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def on_device(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    device = device_of(model)
    return {name: value.to(device) for name, value in batch.items()}
