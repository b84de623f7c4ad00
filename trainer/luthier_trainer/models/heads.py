"""The layers that end a model: put on the base model for a task, or its output layer."""

from dataclasses import dataclass
from typing import Any, Literal

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
