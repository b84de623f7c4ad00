"""The loss of a causal language model, with logits only where it counts.

With a large vocabulary the logits are much of the work, and most of them belong to
prompt tokens that the loss ignores. `logits_to_keep` lets the model's own forward leave
them out, so whatever it does to them (soft caps, scaling) stays.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from luthier_trainer.tokens import IGNORED


def takes_logits_to_keep(model: nn.Module) -> bool:
    """Whether the forward of a transformers model (the base, not PEFT's wrapper) has it."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


@dataclass(frozen=True)
class Targets:
    """What a forward predicts, where it counts.

    logits [examples, kept, vocabulary]; ids [examples, kept], IGNORED where an example
    has no target; positions [kept], those of the inputs that the logits stand at.
    """

    logits: Tensor
    ids: Tensor
    positions: Tensor
    output: Any


def predict_targets(
    model: nn.Module, inputs: Mapping[str, Tensor], sparse: bool, **options: Any
) -> Targets:
    """Forward of a batch of `collate`. If `sparse`, positions that predict no target in
    any example are left out; the model must take logits_to_keep for it."""
    ids = inputs["labels"][:, 1:]
    forward = {name: value for name, value in inputs.items() if name != "labels"}
    if not sparse:
        output = model(**forward, **options)
        positions = torch.arange(ids.shape[1], device=ids.device)
        return Targets(output.logits[:, :-1], ids, positions, output)
    positions = (ids != IGNORED).any(dim=0).nonzero().flatten()
    output = model(**forward, logits_to_keep=positions, **options)
    return Targets(output.logits, ids[:, positions], positions, output)


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy summed over the targets that count, in fp32."""
    return F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def causal_loss(
    model: nn.Module, inputs: Mapping[str, Tensor], sparse: bool, target_count: int | Tensor
) -> Tensor:
    """Mean loss per target, where `target_count` counts all batches of an optimiser step."""
    targets = predict_targets(model, inputs, sparse, use_cache=False)
    total = summed_loss(targets.logits, targets.ids)
    return total / torch.as_tensor(target_count, device=total.device)
