"""What a forward pass keeps for its backward pass, counted while it runs."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

# Autograd's names of what makes a weight another tensor of the same numbers.
_COPIES = ("ToCopyBackward0", "TBackward0")


@dataclass(frozen=True)
class Kept:
    """Bytes. `at_output` and `in_layer`: held at once when logits, or their gradient, are made, and
    when a layer works, both growing as the tokens do; the larger one is the peak. `copies`: of
    weights, in the arithmetic's type. `again`: layers are computed again, when logits are gone."""

    at_output: int
    in_layer: int
    copies: int
    again: bool = False

    def without(self, logits: int, kept: int) -> "Kept":
        """Without so many bytes of logits, of which so many are kept for the backward pass."""
        in_layer = self.in_layer if self.again else max(0, self.in_layer - kept)
        return replace(self, at_output=max(0, self.at_output - logits), in_layer=in_layer)


class _Counter:
    """Bytes of storages that autograd saves, once each: not those of the model's own, apart
    those of copies of its weights, the others by the layer that makes them (None: outside of
    all)."""

    def __init__(self, model: nn.Module, checkpointed: bool) -> None:
        own = [*model.parameters(), *model.buffers()]
        self._checkpointed = checkpointed
        self._weights = set(map(_place, own))
        self._shapes = {shape for t in own for shape in (t.shape, t.shape[::-1])}
        self._seen: set[int] = set()
        self._layer: Any = None
        self._sizes: dict[Any, list[int]] = defaultdict(list)
        self._inputs: dict[int, int] = {}  # of layers: place → size; some get the same ones
        self._inputs_until: dict[Any, int] = {}  # of the layers up to this one
        self._copies = 0

    def pack(self, tensor: Tensor) -> Tensor:
        place, size = _place(tensor), tensor.untyped_storage().nbytes()
        # Of a shared-out model a weight is put together somewhere else.
        if place in self._weights or place in self._seen or isinstance(tensor, nn.Parameter):
            return tensor.detach()
        self._seen.add(place)
        if self._is_copy(tensor):
            self._copies += size
        else:
            self._sizes[self._layer].append(size)
        return tensor.detach()

    def enter(self, layer: nn.Module, inputs: Any) -> None:
        self._layer = layer
        self._inputs |= {_place(t): t.nbytes for t in inputs if isinstance(t, Tensor)}
        self._inputs_until[layer] = sum(self._inputs.values())

    def leave(self, *_: Any) -> None:
        self._layer = None

    @property
    def kept(self) -> Kept:
        """Where logits are made, or their gradient, there are two more of them; in a layer there
        is one more of its largest tensor."""
        layers = {layer: sizes for layer, sizes in self._sizes.items() if layer is not None}
        outside = self._sizes.get(None, [])
        at_output = sum(outside) + 2 * max(outside, default=0)
        if self._checkpointed:
            # One at a time is computed again, when what is behind it is gone.
            again = [self._inputs_until[at] + sum(s) + max(s) for at, s in layers.items()]
            at_output += sum(self._inputs.values())
            return Kept(at_output, max(again, default=0), self._copies, again=True)
        kept = sum(map(sum, layers.values()))
        in_layer = sum(outside) + max(map(max, layers.values()), default=0)
        return Kept(kept + at_output, kept + in_layer, self._copies)

    def _is_copy(self, tensor: Tensor) -> bool:
        """Whether it is a weight in another type, or transposed."""
        made_by = tensor.grad_fn
        if made_by is None:  # of a frozen one
            return tensor.is_floating_point() and tensor.shape in self._shapes
        while made_by is not None and made_by.name() in _COPIES:
            made_by = made_by.next_functions[0][0]
        return made_by is not tensor.grad_fn and hasattr(made_by, "variable")


@contextmanager
def counted(model: nn.Module) -> Iterator[_Counter]:
    """Counts a forward pass within it. Layers that are checkpointed compute all at once, so
    that what they compute again is seen; they count as what they are."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    checkpointed = [layer for layer in layers if layer.gradient_checkpointing]
    counter = _Counter(model, bool(checkpointed))
    hooks = [layer.register_forward_pre_hook(counter.enter) for layer in layers]
    hooks += [layer.register_forward_hook(counter.leave) for layer in layers]
    for layer in checkpointed:
        layer.gradient_checkpointing = False
    try:
        with torch.autograd.graph.saved_tensors_hooks(counter.pack, _as_it_is):
            yield counter
    finally:
        for layer in checkpointed:
            layer.gradient_checkpointing = True
        for hook in hooks:
            hook.remove()


def _place(tensor: Tensor) -> int:
    """Of its storage, also where that has no memory (torch.device("meta"), fake tensors)."""
    return int(tensor.untyped_storage()._cdata)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
