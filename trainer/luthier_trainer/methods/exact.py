"""fp32 arithmetic on weights that stay in a smaller type: of a layer at a time, while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def exact(model: nn.Module) -> Iterator[None]:
    """Within it a forward pass gives what it would give with all weights in fp32, as a type of 16
    bits goes into fp32 without loss; beside the weights there is one layer in fp32."""
    handles: list[Any] = []
    for module, weights in _units(model):
        widen, restore = _widening(weights)
        handles.append(module.register_forward_pre_hook(widen))
        handles.append(module.register_forward_hook(restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _units(model: nn.Module) -> Iterator[tuple[nn.Module, list[Tensor]]]:
    """What is widened together: layers of a stack as a whole, as some look at the types of what is
    within; beside them each module with weights of its own."""
    layers: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{layer}.") for layer in layers):
            continue
        if isinstance(module, nn.ModuleList):
            for number, layer in enumerate(module):
                layers.append(f"{name}.{number}")
                yield layer, _small([*layer.parameters(), *layer.buffers()])
        elif name not in layers:
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            if own:
                yield module, _small(own)


def _small(tensors: list[Tensor]) -> list[Tensor]:
    return [t for t in tensors if t.dtype in (torch.bfloat16, torch.float16)]


def _widening(weights: list[Tensor]) -> tuple[Callable[..., None], Callable[..., None]]:
    kept: list[Tensor] = []

    def widen(*_: Any) -> None:
        kept[:] = [weight.data for weight in weights]
        for weight in weights:
            weight.data = weight.data.float()

    def restore(*_: Any) -> None:
        for weight, data in zip(weights, kept, strict=False):
            weight.data = data
        kept.clear()

    return widen, restore
