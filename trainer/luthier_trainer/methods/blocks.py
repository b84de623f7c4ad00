"""Where attention and MLP are in a model, found by watching it run."""

import inspect
import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from luthier_trainer.models.temporary import evaluating

# A layer of a stack, and the rest of a module's name: bert.encoder.layer.0, attention.self.query
_IN_LAYER = re.compile(r"^(?P<layer>.*?\.\d+)\.(?P<rest>.+)$")
_ATTENTION = re.compile(r"att(entio)?n", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """The linear layers of one attention or one MLP, in the order in which they run."""

    name: str
    kind: Literal["attention", "mlp"]
    linear: tuple[str, ...]

    @property
    def output(self) -> str:
        """The last one, whose output goes back to the residual stream."""
        return self.linear[-1]


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer: also GPT-2's Conv1D, which holds its weight transposed."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def find_blocks(model: Any) -> list[Block]:
    """The attentions and MLPs of all layers of a transformers model, in order of names' layers.

    Two tokens go through the model: the order in which modules are declared says little.
    """
    blocks: dict[tuple[str, Literal["attention", "mlp"]], list[str]] = {}
    for name in _run(model):
        found = _IN_LAYER.match(name)
        if not found:
            continue
        parts = found["rest"].split(".")
        depth = next((i for i, part in enumerate(parts) if _ATTENTION.search(part)), None)
        kind: Literal["attention", "mlp"] = "mlp" if depth is None else "attention"
        within = [] if depth is None else parts[: depth + 1]
        linear = blocks.setdefault((".".join([found["layer"], *within]), kind), [])
        if name not in linear:
            linear.append(name)
    return [Block(name, kind, tuple(linear)) for (name, kind), linear in blocks.items()]


def _run(model: Any) -> list[str]:
    """Names of the linear layers, in the order in which they run."""
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, module in model.named_modules()
        if is_linear(module)
    ]
    body = model.base_model
    parameters = inspect.signature(body.forward).parameters
    ids = torch.ones(1, 2, dtype=torch.long, device=model.device)
    inputs = {"input_ids": ids}
    if "decoder_input_ids" in parameters:
        inputs["decoder_input_ids"] = ids
    try:
        # What goes from layer to layer is fp32 where weights are fp16 (models/precision.py).
        half = torch.autocast(model.device.type, torch.float16, model.dtype == torch.float16)
        with torch.no_grad(), evaluating(model), half:
            body(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return order
