"""A loss of the user's own in an optimiser step of several batches.

`custom(outputs, batch)` returns one number, taken as the mean over the batch's examples, or
a number per example. Either way a batch counts as its examples: count_targets is their number,
and the loss to train on is sum over examples / count. So, for a loss that is a mean over
examples, accumulated gradients equal those of one large batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from luthier_trainer.objectives.loss import divided, summed_loss
from luthier_trainer.objectives.tokens import IGNORED

Custom = Callable[..., Tensor]


def scaled(loss: Tensor, examples: int, count: float | Tensor) -> Tensor:
    """What a custom loss of a batch adds to the loss of an optimiser step."""
    total = loss.sum() if loss.numel() == examples and loss.dim() else loss.mean() * examples
    return divided(total, count)


def is_of_pairs(custom: Any) -> bool:
    """Whether it has the form (output1, output2, label); see usercode.UserLoss."""
    return bool(getattr(custom, "of_pairs", False))


def of_heads(
    outputs: Any,
    batch: Mapping[str, Tensor],
    count: float | Tensor,
    smoothing: float,
    custom: Custom | None,
) -> Tensor:
    """The loss to train on of a model with logits for each label of the batch (IGNORED: none),
    or of the user's own."""
    labels = batch["labels"]
    if custom:
        return scaled(custom(outputs, dict(batch)), len(labels), count)
    return divided(summed_loss(outputs.logits, labels, smoothing), count)


def count_labels(labels: Tensor, custom: Custom | None) -> int:
    """What that loss sums over: labels that count, or examples."""
    return len(labels) if custom else int((labels != IGNORED).sum())
