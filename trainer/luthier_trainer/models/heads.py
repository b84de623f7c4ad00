"""The layers that end a model: put on the base model for a task, or its output layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Problem = Literal["multi_label_classification", "regression"]


@dataclass(frozen=True)
class Head:
    """What the model must end in: a class of transformers, e.g. AutoModelForTokenClassification.

    `labels` are those of its outputs in order; empty for language models and embeddings. `problem`:
    what transformers calls what is learnt of several outputs, where it isn't one class.
    """

    auto_class: str
    labels: tuple[str, ...] = ()
    problem: Problem | None = None


def head_modules(model: Any) -> list[str]:
    """Names of the modules with weights beside the base model, e.g. score, classifier.

    Empty for a model without a head (AutoModel).
    """
    body = getattr(model, model.base_model_prefix, None)
    if not isinstance(body, nn.Module):
        return []
    return [
        name
        for name, child in model.named_children()
        if child is not body and any(True for _ in child.parameters())
    ]


def new_modules(model: Any) -> tuple[str, ...]:
    """Names of the modules that the checkpoint has no weights for, as `load_base` found."""
    found: tuple[str, ...] = getattr(model, "luthier_new_modules", ())
    return found


def remember_new_modules(model: Any, missing_keys: list[str]) -> None:
    """`missing_keys`: names of the weights that the checkpoint lacks."""
    model.luthier_new_modules = tuple(sorted({key.rpartition(".")[0] for key in missing_keys}))


def renew_head(model: Any, outputs: int, seed: int, missing: Sequence[str]) -> list[str]:
    """Give the layers of a task's head that have so many outputs new weights, but those that are
    `missing` in the checkpoint and so have; the names of their weights.

    A head for as many other labels fits a model by its shape alone.
    """
    renewed: dict[str, nn.Linear] = {}
    for name in head_modules(model):
        for inner, module in model.get_submodule(name).named_modules(prefix=name):
            there = not any(key.startswith(f"{inner}.") for key in missing)
            if isinstance(module, nn.Linear) and module.out_features == outputs and there:
                renewed[inner] = module
    if renewed:
        torch.manual_seed(seed)
    for module in renewed.values():
        for parameter in module.parameters():
            parameter._is_hf_initialized = False  # type: ignore[attr-defined]
        model._init_weights(module)
    return [
        f"{name}.{key}" for name, module in renewed.items() for key, _ in module.named_parameters()
    ]


def keeps_head(model: Any) -> bool:
    """Whether a model with a head for a task has that of its checkpoint."""
    heads = head_modules(model)
    return not any(
        name == head or name.startswith(f"{head}.") for name in new_modules(model) for head in heads
    )
