"""LoRA linear layers as one operation each, for base weights in the precision of the run, or in 4
bits that are expanded to it.

PEFT computes the update of a layer in a dozen operations, and in bf16 casts the layer's whole
input to fp32 and back on the way. Here is the same product, with its gradient written
out. The layers, their weights and what is saved stay PEFT's own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from luthier_trainer.objectives.forward import unwrapped

# A weight that isn't kept as it is used.
Weight = Callable[[], Tensor]


class _LoraLinear(torch.autograd.Function):
    """y = x Wᵀ + bias + s (d Aᵀ) Bᵀ (https://arxiv.org/abs/2106.09685) in W's dtype.

    x [..., in]; d is what dropout left of x, None where that is all; `unpacked` gives W [out, in],
    forward and backward; it and bias [out] are frozen; A [rank, in] and B [out, rank] in fp32, and
    so are their gradients; `low`: A and s B in W's dtype.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor | None,
        unpacked: Weight,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        low: tuple[Tensor, Tensor],
        scale: float,
    ) -> Tensor:
        weight = unpacked()
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        inner = rows if dropped is None else dropped.reshape(rows.shape).to(weight.dtype)
        a, b = low
        narrow = inner @ a.T
        bias = None if bias is None else bias.to(weight.dtype)
        y = torch.addmm(bias, rows, weight.T) if bias is not None else rows @ weight.T
        y.addmm_(narrow, b.T)
        ctx.save_for_backward(inner, a, b, narrow)
        ctx.unpacked, ctx.shape, ctx.dtype, ctx.scale = unpacked, x.shape, x.dtype, scale
        ctx.drops = dropped is not None
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inner, a, b, narrow = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_narrow = grad @ b
        grad_a = (grad_narrow.T @ inner).float()
        grad_b = (grad.T @ narrow).float() * ctx.scale
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ ctx.unpacked()
            if ctx.drops:
                grad_dropped = (grad_narrow @ a).view(ctx.shape)
            else:
                grad_x.addmm_(grad_narrow, a)
            grad_x = grad_x.view(ctx.shape).to(ctx.dtype)
        return grad_x, grad_dropped, None, None, grad_a, grad_b, None, None


class _Copies:
    """A and s B of all layers in the run's type, made anew at each forward of the model: in a few
    operations, where each layer by itself needs three. What is computed again in the backward pass
    takes them, too."""

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        self._layers = layers
        self.dtype = dtype
        self._made: dict[Any, tuple[tuple[int, int], tuple[Tensor, Tensor]]] = {}

    def make(self, *_: Any) -> None:
        pairs = [_weights(layer) for layer in self._layers]
        # Those of an evaluation may be there when training goes on.
        with torch.inference_mode(False), torch.no_grad():
            scales = [_scale(layer) for layer in self._layers]
            scaled = torch._foreach_mul([b for _, b in pairs], scales)
            weights = [*(a for a, _ in pairs), *scaled]
            flat = torch.cat([weight.flatten() for weight in weights]).to(self.dtype)
            pieces = torch.split(flat, [weight.numel() for weight in weights])
            copies = [p.view(w.shape) for p, w in zip(pieces, weights, strict=True)]
        low = zip(copies[: len(pairs)], copies[len(pairs) :], strict=True)
        made = zip(map(_version, self._layers), low, strict=True)
        self._made = dict(zip(self._layers, made, strict=True))

    def of(self, layer: Any) -> tuple[Tensor, Tensor]:
        version, low = self._made.get(layer, (None, None))
        if low is not None and version == _version(layer):
            return low
        a, b = _weights(layer)  # a part of the model that is called by itself
        with torch.no_grad():
            return a.to(self.dtype), (b * _scale(layer)).to(self.dtype)


def fuse_lora(model: nn.Module, dtype: torch.dtype) -> int:
    """Let the layers of a PEFT model that allow it run as one operation; returns how many.

    Those are plain LoRA on a frozen nn.Linear whose weights are in `dtype`, the type that the run
    computes in, or on one in 4 bits that computes in it. All others, and these while their adapter
    is off or merged, keep PEFT's own forward.
    """
    found = [(module, _weight(module, dtype)) for module in model.modules()]
    layers: list[tuple[Any, Weight]] = [(it, weight) for it, weight in found if weight is not None]
    copies = _Copies([layer for layer, _ in layers], dtype)
    if layers and dtype != torch.float32:
        unwrapped(model).register_forward_pre_hook(copies.make)
    for layer, weight in layers:
        layer.forward = partial(_forward, layer, layer.forward, copies, weight)
    return len(layers)


def _weight(module: Any, dtype: torch.dtype) -> Weight | None:
    """That of a layer that can be fused."""
    quantized = isinstance(module, BaseTunerLayer) and type(module).__name__ == "Linear4bit"
    if not quantized and type(module) is not LoraLinear:
        return None
    base = module.base_layer
    plain = (
        module.active_adapters == ["default"]
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and not module.lora_variant  # DoRA and the like
        and not module.lora_bias["default"]
    )
    if not plain:
        return None
    if not quantized:
        fits = type(base) is nn.Linear and base.weight.dtype == dtype
        return partial(_as_it_is, base) if fits else None
    return partial(_expanded, base, dtype) if base.compute_dtype == dtype else None


def _as_it_is(base: Any) -> Tensor:
    weight: Tensor = base.weight
    return weight


def _expanded(base: Any, dtype: torch.dtype) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(base.weight, base.weight.quant_state).to(dtype)


def _forward(
    layer: Any, plain: Any, copies: _Copies, weight: Weight, x: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        result: Tensor = plain(x, *args, **kwargs)
        return result
    bias, dropout = layer.base_layer.bias, layer.lora_dropout["default"]
    drops = layer.training and not isinstance(dropout, nn.Identity)
    # The operation chooses its dtypes itself.
    with torch.autocast(x.device.type, enabled=False):
        dropped = dropout(x.to(copies.dtype)) if drops else None
        low, scale = copies.of(layer), _scale(layer)
        y: Tensor = _LoraLinear.apply(x, dropped, weight, bias, *_weights(layer), low, scale)
    return y


def _weights(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


def _scale(layer: Any) -> float:
    scale: float = layer.scaling["default"]
    return scale


def _version(layer: Any) -> tuple[int, int]:
    """Another one once an optimiser has stepped."""
    a, b = _weights(layer)
    return a._version, b._version
