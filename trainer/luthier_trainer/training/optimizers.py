"""Optimisers by their names in transformers, with its settings."""

import re
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from luthier_api.optimizers import of_bitsandbytes
from luthier_api.training import Training
from luthier_trainer.distributed.shards import shards_of, trained_weights
from luthier_trainer.models.quantized import show_bitsandbytes
from luthier_trainer.training.rate import rate_of
from luthier_trainer.training.rounding import with_rounding

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
# AdEMAMix (https://arxiv.org/abs/2409.03137): the decay and the weight of its slow average.
_SLOW_BETA, _SLOW_WEIGHT = 0.9999, 5.0
# Weights that don't decay: biases, and those of norms, by whatever name.
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:\A|\.)norm(?:\.|\Z)|_norm(?:\.|\Z)")
# As bitsandbytes has it: which states are paged, of weights of how many numbers.
_PAGED, _PAGED_FROM = {"state1", "state2"}, 100_000


def make_optimizer(model: nn.Module, training: Training) -> Optimizer:
    """The optimiser of the trainable weights, in a fresh state."""
    shards = shards_of(model)
    # Chance that two weights share by their places would be no chance.
    drawn = f"{training.seed}/{shards.part.number}" if shards else str(training.seed)
    return with_rounding(_make(model, training), drawn)


def _make(model: nn.Module, training: Training) -> Optimizer:
    name, rate = training.optimizer, rate_of(training)
    groups = _groups(model, training.weight_decay)
    if of_bitsandbytes(name):
        return _of_bitsandbytes(model, name, groups, rate)
    match name:
        case "adamw_torch" | "adamw_torch_fused":  # the same algorithm; fused in one kernel
            return torch.optim.AdamW(groups, rate, _BETAS, _EPSILON, fused=True)
        case "adafactor":
            from transformers.optimization import Adafactor

            made: Optimizer = Adafactor(groups, rate, scale_parameter=False, relative_step=False)
            return made
        case "sgd":
            return torch.optim.SGD(groups, rate)
        case "adagrad":
            return torch.optim.Adagrad(groups, rate)
        case "rmsprop":
            return torch.optim.RMSprop(groups, rate)
    raise ValueError(f"no optimiser {name}")  # the API refuses it


def page_again(optimizer: Any) -> None:
    """Put restored states where a paged optimiser has them: bitsandbytes pages those that it
    makes, and leaves those that it loads in the GPU's memory."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # within one that rounds
    if not getattr(optimizer, "is_paged", False):
        return
    from bitsandbytes import functional

    for parameter, state in optimizer.state.items():
        if not parameter.is_cuda or parameter.numel() < _PAGED_FROM:
            continue
        for name in _PAGED & state.keys():
            loaded = state[name]
            state[name] = functional.get_paged(  # type: ignore[no-untyped-call]
                *loaded.shape, dtype=loaded.dtype, device=parameter.device
            )
            state[name].copy_(loaded)
            optimizer.page_mng.paged_tensors.append(state[name])


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights that decay, and those that don't."""
    norms = {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    trained = list(trained_weights(model).items())
    kept = {name for name, _ in trained if name in norms or _NO_DECAY.search(name.lower())}
    return [
        {"params": [p for name, p in trained if name not in kept], "weight_decay": decay},
        {"params": [p for name, p in trained if name in kept], "weight_decay": 0.0},
    ]


def _of_bitsandbytes(
    model: nn.Module, name: str, groups: list[dict[str, Any]], rate: float
) -> Optimizer:
    show_bitsandbytes()
    optim: Any = import_module("bitsandbytes.optim")  # it has no types
    manager = optim.GlobalOptimManager.get_instance()
    # It remembers settings by the addresses of the weights of earlier trainings.
    manager.initialize()
    bits = 8 if "8bit" in name else 32
    common = {"lr": rate, "optim_bits": bits, "is_paged": name.startswith("paged")}
    made: Optimizer
    if "ademamix" in name:
        betas = (*_BETAS, _SLOW_BETA)
        made = optim.AdEMAMix(groups, betas=betas, alpha=_SLOW_WEIGHT, eps=_EPSILON, **common)
    elif "adam" in name:
        made = optim.AdamW(groups, betas=_BETAS, eps=_EPSILON, **common)
    elif "lion" in name:
        made = optim.Lion(groups, betas=_BETAS, **common)
    else:
        made = optim.RMSprop(groups, lr=rate, optim_bits=bits)
    if bits == 8:  # states of embeddings, which rarely change and then much, stay in 32
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                manager.register_module_override(module, "weight", {"optim_bits": 32})
    return made
