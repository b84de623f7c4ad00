"""The model that a training begins with, beside the one that it makes of it."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from luthier_trainer.models.temporary import evaluating
from luthier_trainer.objectives.forward import device_of


class Start:
    """The base, within the tuned model: its adapter is switched off, and no second model held."""

    def __init__(
        self, base: Callable[[], AbstractContextManager[Any]], autocast: torch.dtype | None
    ) -> None:
        """`base`: the method of a Tuned, which who trains it may let go. `autocast`: the type that
        the run computes in, where it isn't that of the weights."""
        self._base, self._autocast = weakref.WeakMethod(base), autocast
        self._open: Any = None

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        """Within it the model yielded answers as the base does. Within itself it is no other."""
        if self._open is not None:
            yield self._open
            return
        base = self._base()
        assert base, "the tuned model is gone"
        with base() as self._open:
            try:
                yield self._open
            finally:
                self._open = None

    @contextmanager
    def asked(self) -> Iterator[Any]:
        """The same, to compute what no gradient goes through."""
        with self() as model, unlearnt(model, self._autocast):
            yield model


@contextmanager
def unlearnt(model: nn.Module, autocast: torch.dtype | None = None) -> Iterator[None]:
    """Within it nothing is drawn, and no gradient goes through what is computed, in the type
    `autocast` (None: in that of the caller)."""
    device = device_of(model).type
    computes = autocast is not None or torch.is_autocast_enabled(device)
    dtype = autocast or torch.get_autocast_dtype(device)
    # What is cast within is kept by no cache: whoever comes next may need its gradient.
    cast = torch.autocast(device, dtype=dtype, enabled=computes, cache_enabled=False)
    with torch.no_grad(), evaluating(model), cast:
        yield
