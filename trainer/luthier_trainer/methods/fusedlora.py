"""LoRA linear layers as one operation each, for base weights in the precision of the run.

PEFT computes the update of a layer in a dozen operations, and in bf16 casts the layer's whole
input to fp32 and back on the way. Here is the same product, with its gradient written
out. The layers, their weights and what is saved stay PEFT's own.
"""

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _LoraLinear(torch.autograd.Function):
    """y = x Wᵀ + bias + s (x Aᵀ) Bᵀ (https://arxiv.org/abs/2106.09685) in W's dtype.

    x [..., in]; W [out, in] and bias [out] frozen; A [rank, in] and B [out, rank] in fp32,
    and so are their gradients.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        a, b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        low = rows @ a.T
        y = torch.addmm(bias, rows, weight.T) if bias is not None else rows @ weight.T
        y.addmm_(low, b.T)
        ctx.save_for_backward(rows, weight, a, b, low)
        ctx.shape, ctx.dtype, ctx.scale = x.shape, x.dtype, scale
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, low = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = grad @ b
        grad_a = (grad_low.T @ rows).float()
        grad_b = (grad.T @ low).float() * ctx.scale
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_low, a).view(ctx.shape).to(ctx.dtype)
        return grad_x, None, None, grad_a, grad_b, None


def fuse_lora(model: nn.Module, dtype: torch.dtype) -> int:
    """Let the layers of a PEFT model that allow it run as one operation; returns how many.

    Those are plain LoRA without dropout on a frozen nn.Linear whose weights are in `dtype`, the
    type that the run computes in. All others, and these while their adapter is off or merged,
    keep PEFT's own forward.
    """
    layers: list[Any] = [module for module in model.modules() if _fusable(module, dtype)]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    return len(layers)


def _fusable(module: Any, dtype: torch.dtype) -> bool:
    if type(module) is not LoraLinear or module.active_adapters != ["default"]:
        return False
    base = module.base_layer
    return (
        type(base) is nn.Linear
        and base.weight.dtype == dtype
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and isinstance(module.lora_dropout["default"], nn.Identity)
        and not module.lora_variant  # DoRA and the like
        and not module.lora_bias["default"]
    )


def _forward(layer: LoraLinear, plain: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        result: Tensor = plain(x, *args, **kwargs)
        return result
    base = layer.base_layer
    # The operation chooses its dtypes itself.
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = _LoraLinear.apply(
            x,
            base.weight,
            base.bias,
            layer.lora_A["default"].weight,
            layer.lora_B["default"].weight,
            layer.scaling["default"],
        )
    return y
