"""Mixtures of experts, whose weights are no linear layers; and what else gets no update."""

import math
import re
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from luthier_api.methods import Lora
from luthier_trainer.methods.targets import matched, shortest_names, within

_IN_LAYER = re.compile(r"\.\d+\.")
_ROUTER = re.compile(r"(^|\.)(gate|router)(\.|$)|Router")
_WORTH_TELLING = 0.01  # of the layers' weights


def expert_weights(base: Any) -> list[str]:
    """Full names of the weights of all experts of a layer in one: [experts, out, in]."""
    return [
        f"{owner}.{name}"
        for owner, module in base.named_modules()
        if not isinstance(module, _ConvNd) and _IN_LAYER.search(f"{owner}.")
        for name, weight in module.named_parameters(recurse=False)
        if weight.dim() == 3 and weight.is_floating_point()
    ]


def updated_experts(base: Any, lora: Lora) -> list[str]:
    """Names for peft's target_parameters: `auto` and `all-linear` mean the experts too, where peft
    can update them."""
    every = lora.target_pattern is None and lora.target_modules in (["auto"], ["all-linear"])
    if not every or why_not(lora):
        return []
    names = expert_weights(base)
    return shortest_names(names, [name for name, _ in base.named_parameters()])


def why_not(lora: Lora) -> str | None:
    """Why peft can't update experts."""
    if lora.dropout:
        return "set method.lora.dropout to 0"
    if lora.dora:
        return "do without method.lora.dora"
    return None


def left_out(base: Any, config: Any, lora: Lora) -> str | None:
    """Which weights of the layers get no update, where that is more than a trifle, in words.

    `config`: peft's LoraConfig.
    """
    updated = {*matched(base, config.target_modules or [])}
    experts = [*(config.target_parameters or ())]
    saved = [*(config.modules_to_save or ())]
    modules = dict(base.named_modules())
    total, left = 0, dict[str, int]()
    for name, weight in base.named_parameters():
        owner = name.rpartition(".")[0]
        if weight.dim() < 2 or not _IN_LAYER.search(name) or _is_other(owner, modules[owner]):
            continue
        total += math.prod(weight.shape)
        if not (owner in updated or within(name, experts) or within(owner, saved)):
            leaf = ".".join(name.split(".")[-2:])
            left[leaf] = left.get(leaf, 0) + math.prod(weight.shape)
    share = sum(left.values()) / max(total, 1)
    if share <= _WORTH_TELLING:
        return None
    names = ", ".join(_largest_first(left)[:4])
    remedy = why_not(lora) if expert_weights(base) and not experts else None
    return f"{share:.0%} of the layers' weights get no update ({names})" + (
        f": {remedy}, and they do" if remedy else ""
    )


def _is_other(name: str, module: nn.Module) -> bool:
    """What isn't meant to be updated: routers, and positions that are looked up."""
    return isinstance(module, nn.Embedding) or bool(
        _ROUTER.search(name) or _ROUTER.search(type(module).__name__)
    )


def _largest_first(sizes: dict[str, int]) -> list[str]:
    return sorted(sizes, key=lambda name: -sizes[name])
