"""Losses of heads for classes, summed, in fp32. Pure."""

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor


def summed_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.0,
    gamma: float = 0.0,
) -> Tensor:
    """Of logits [examples, classes] and labels [examples]; divided by the sum of the labels'
    weights it is torch's cross_entropy(weight=…, label_smoothing=…).

    `gamma`: the focal loss (Lin et al. 2017), w (1 - p)^gamma · -log p; without smoothing.
    """
    logits = logits.float()
    if not gamma:
        return F.cross_entropy(
            logits, labels, weight=weights, reduction="sum", label_smoothing=smoothing
        )
    entropy = F.cross_entropy(logits, labels, reduction="none")
    losses = unsure(entropy) ** gamma * entropy
    return (losses if weights is None else losses * weights[labels]).sum()


def unsure(entropy: Tensor) -> Tensor:
    """1 - p, where the entropy is -log p. Never 0: a power of it below 1 has no slope there."""
    return (-torch.expm1(-entropy)).clamp_min(torch.finfo(torch.float32).tiny)


def binary_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, gamma: float = 0.0
) -> Tensor:
    """Of each class of each example, [examples, classes] as both: torch's
    binary_cross_entropy_with_logits(pos_weight=weights), or with `gamma` the focal loss of it."""
    if not gamma:
        return F.binary_cross_entropy_with_logits(
            logits, labels, pos_weight=weights, reduction="none"
        )
    entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    losses = unsure(entropy) ** gamma * entropy
    return losses if weights is None else losses * (1 + (weights - 1) * labels)
