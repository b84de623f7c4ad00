"""The loss of a language model's output layer without all of its logits at once.

With a vocabulary of 128,000 tokens the logits of 4,096 targets take 2.1 GB in fp32, and loss and
gradients as much again twice. Here a part of the targets is done at a time, forward and backward,
and what stays is the gradient of the layer's inputs (the method of Liger's fused linear cross
entropy, https://arxiv.org/abs/2410.10989). Few targets have their logits at once, which is the
model's own forward.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from luthier_trainer.models.temporary import evaluating, forward_instead
from luthier_trainer.objectives.forward import device_of, unwrapped

# Logits of a part: 256 MiB in fp32. Larger ones are no faster.
_PART = 1 << 26
# What logits come to, by number: as they are, their logarithms of probabilities, and gradients;
# of a part in place, and once more in the arithmetic's type.
_WHOLE_BYTES, _PART_BYTES = 12, 8
_FP32 = 4

Select = Callable[[Tensor], Tensor]


def remember_plain_head(model: Any, autocast: torch.dtype | None) -> bool:
    """Try out whether the model's logits are its output layer's outputs as they are, and remember
    it: others (soft caps, scales) have their loss from their own forward. `autocast`: the type
    that the run computes in, where it isn't that of the weights."""
    base = unwrapped(model)
    base.luthier_plain_head = _is_plain(base, autocast)
    return bool(base.luthier_plain_head)


def plain_head(model: Any) -> nn.Linear | None:
    """The output layer, where it was found plain."""
    base = unwrapped(model)
    if not getattr(base, "luthier_plain_head", False):
        return None
    head: nn.Linear = base.get_output_embeddings()
    return head


def in_parts(model: Any, targets: int) -> nn.Linear | None:
    """The output layer, where a loss of so many targets is better made in parts."""
    head = plain_head(model)
    return head if head is not None and targets * head.out_features > _PART else None


def logits_bytes(model: Any, targets: int) -> int:
    """What the loss of so many targets holds of logits at its peak, and of a gradient of the output
    layer beside the weights'; 0 where nothing is known of that layer."""
    head = plain_head(model)
    if head is None:
        return 0
    whole: int = targets * head.out_features
    if whole <= _PART:
        return _WHOLE_BYTES * whole
    summed = head.weight.numel() * _FP32 if head.weight.requires_grad else 0
    if head.weight.dtype != torch.float32:  # and in the weight's type
        summed += summed // 2
    return _PART_BYTES * _PART + summed


def kept_logits_bytes(model: Any, targets: int) -> int:
    """What the loss of so few targets that they have their logits at once keeps of them until its
    backward pass; 0 where nothing is known of the output layer."""
    head = plain_head(model)
    return 0 if head is None else _FP32 * targets * head.out_features


def evaluated_bytes(
    model: Any, *, positions: int, targets: int, rows: int, dtype: torch.dtype, whole: bool
) -> int:
    """What measuring a batch holds of logits. `rows` have `targets` together, at so many
    `positions`; `whole`: logits of all of these are asked for. `dtype`: the arithmetic's."""
    vocabulary: int = unwrapped(model).get_output_embeddings().weight.shape[0]
    if not whole and in_parts(model, targets):
        return _PART_BYTES * _PART
    # A row at a time is in fp32, with the logarithms of its probabilities.
    return positions * vocabulary * (rows * dtype.itemsize + 2 * _FP32)


@dataclass
class Read:
    """What an output layer would have read, and the type that it would have computed in."""

    hidden: Tensor | None = None
    dtype: torch.dtype = torch.float32


@contextmanager
def reading(model: Any, select: Select, *, skipped: bool = False) -> Iterator[Read]:
    """Within it the output layer reads what `select` makes of the model's outputs. `skipped`: it
    keeps that, and gives no logits."""
    head = unwrapped(model).get_output_embeddings()
    read = Read()

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (select(inputs[0]),)

    hook = head.register_forward_pre_hook(choose)
    try:
        with forward_instead(head, _keeper(head, read)) if skipped else nullcontext():
            yield read
    finally:
        hook.remove()


def loss_in_parts(read: Read, head: nn.Linear, targets: Tensor) -> Tensor:
    """Cross-entropy of the layer's logits, summed, in fp32. hidden [targets, width], targets
    [targets]: ids, none left out."""
    assert read.hidden is not None
    rows = max(1, _PART // head.out_features)
    # The operation chooses its types itself.
    with torch.autocast(read.hidden.device.type, enabled=False):
        loss: Tensor = _LossInParts.apply(
            read.hidden, head.weight, head.bias, targets, rows, read.dtype
        )
    return loss


def losses_in_parts(read: Read, head: nn.Linear, targets: Tensor) -> Tensor:
    """Cross-entropy of each target in fp32: [targets]. As loss_in_parts, without gradients; the
    caller has set autocast."""
    assert read.hidden is not None
    rows = max(1, _PART // head.out_features)
    parts = zip(torch.split(read.hidden, rows), torch.split(targets, rows), strict=True)
    losses = [
        nn.functional.cross_entropy(head(hidden).float(), ids, reduction="none")
        for hidden, ids in parts
    ]
    return torch.cat(losses)


def targets_in_parts(read: Read, head: nn.Linear, targets: Tensor) -> Tensor:
    """The same with gradients, for losses that are no sum: [targets]. The logits of a part are made
    once more in the backward pass."""
    assert read.hidden is not None
    rows = max(1, _PART // head.out_features)

    def losses(hidden: Tensor, ids: Tensor) -> Tensor:
        weight = head.weight.to(read.dtype)
        bias = None if head.bias is None else head.bias.to(read.dtype)
        logits = nn.functional.linear(hidden.to(read.dtype), weight, bias).float()
        return nn.functional.cross_entropy(logits, ids, reduction="none")

    parts = zip(torch.split(read.hidden, rows), torch.split(targets, rows), strict=True)
    with torch.autocast(read.hidden.device.type, enabled=False):
        return torch.cat([checkpoint(losses, *part, use_reentrant=False) for part in parts])


class _LossInParts(torch.autograd.Function):
    """Σ (log Σ exp z - z[target]), z = x Wᵀ + b, and its gradients: (softmax(z) - onehot) W, and
    the same times xᵀ.

    x [n, width], W [vocabulary, width], b [vocabulary]. Products in `dtype`, all else in fp32, so
    also the gradients of W and b.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        grad_x = torch.empty_like(x, dtype=dtype) if for_x else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if for_weight else None
        grad_bias = x.new_zeros(len(weight), dtype=torch.float32) if for_bias else None
        total = x.new_zeros((), dtype=torch.float32)
        # The probabilities of most tokens are too small for fp16.
        scale = 1024.0 if dtype == torch.float16 else 1.0
        low, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        for start in range(0, len(x), rows):
            part, wanted = x[start : start + rows].to(dtype), targets[start : start + rows, None]
            logits = nn.functional.linear(part, low, bias).float()
            norms = logits.logsumexp(dim=1, keepdim=True)
            total += (norms - logits.gather(1, wanted)).sum()
            gradient = logits.sub_(norms).exp_()
            gradient.scatter_add_(1, wanted, -torch.ones_like(norms))
            if grad_bias is not None:
                grad_bias += gradient.sum(dim=0)
            product = gradient.mul_(scale).to(dtype)
            del logits, gradient
            if grad_x is not None:
                torch.mm(product, low, out=grad_x[start : start + rows])
            if grad_weight is not None:
                grad_weight += product.T @ part
            del product
        ctx.save_for_backward(grad_x, grad_weight, grad_bias)
        ctx.scale, ctx.types = scale, (x.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factors = (grad / ctx.scale, grad / ctx.scale, grad)
        # In place: who goes backward once more is told by torch that they were changed.
        found = (
            None if each is None else each.mul_(factor).to(dtype)
            for each, factor, dtype in zip(ctx.saved_tensors, factors, ctx.types, strict=True)
        )
        return *found, None, None, None


def _is_plain(base: Any, autocast: torch.dtype | None) -> bool:
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if type(head) is not nn.Linear or not head.weight.is_floating_point():
        return False
    device = device_of(base)
    ids = torch.tensor([[0, 1]], device=device)
    # No forward that does something to them would leave numbers of this size alone.
    marked = torch.randn(
        1, 2, head.out_features, generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    marked = (100 * marked).to(device)
    inputs = {"input_ids": ids, "use_cache": False}
    if base.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    try:
        with (
            torch.no_grad(),
            torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
            evaluating(base),
            forward_instead(head, lambda _: marked),
        ):
            logits = base(**inputs).logits
    except Exception:  # whatever it stumbles over: its own forward does it
        return False
    return bool(logits.shape == marked.shape and torch.equal(logits.float(), marked))


def _keeper(head: nn.Linear, read: Read) -> Callable[[Tensor], Tensor]:
    def keep(hidden: Tensor) -> Tensor:
        kind = hidden.device.type
        computes = torch.is_autocast_enabled(kind)
        read.dtype = torch.get_autocast_dtype(kind) if computes else head.weight.dtype
        read.hidden = hidden
        return hidden.new_empty(0, head.out_features)

    return keep
