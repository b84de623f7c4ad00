"""A loss of the user's own in an optimiser step of several batches.

`custom(outputs, batch)` returns one number, taken as the mean over the batch's examples, or
a number per example. Either way a batch counts as its examples: count_targets is their number,
and the loss to train on is sum over examples / count. So, for a loss that is a mean over
examples, accumulated gradients equal those of one large batch.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from luthier_trainer.objectives.loss import divided

Custom = Callable[..., Tensor]


def scaled(loss: Tensor, examples: int, count: int | Tensor) -> Tensor:
    """What a custom loss of a batch adds to the loss of an optimiser step."""
    total = loss.sum() if loss.numel() == examples and loss.dim() else loss.mean() * examples
    return divided(total, count)


def is_of_pairs(custom: Any) -> bool:
    """Whether it has the form (output1, output2, label); see usercode.UserLoss."""
    return bool(getattr(custom, "of_pairs", False))
