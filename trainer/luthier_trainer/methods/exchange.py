"""Weights put into a model for a while."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn


@contextmanager
def exchanged(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Within it each first tensor has the values of the second, and the other way round.

    One tensor at a time, so no third copy is held; parameters stay the same objects.
    """
    pairs = list(pairs)
    _exchange(pairs)
    try:
        yield
    finally:
        _exchange(pairs)


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, tied ones once."""
    return dict(chain(model.named_parameters(), model.named_buffers()))


def _exchange(pairs: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for one, other in pairs:
            if one.device == other.device and one.dtype == other.dtype:
                one.data, other.data = other.data, one.data
            else:
                kept = one.data.to(other.device, other.dtype, copy=True)
                one.data.copy_(other.data)
                other.data = kept
