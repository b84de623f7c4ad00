"""The arithmetic of a run."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from luthier_trainer.log import log
from luthier_trainer.machine import device
from luthier_trainer.machine.runtime import cpu_has_fast_bf16


@dataclass(frozen=True)
class Precision:
    """Arithmetic of the forward pass; what is trained beside a frozen base is fp32."""

    name: str  # fp32 | bf16 | fp16

    @property
    def dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]

    @property
    def autocast(self) -> torch.dtype | None:
        """The type that a forward pass computes in where it isn't that of the weights."""
        return None if self.name == "fp32" else self.dtype

    @property
    def frozen_dtype(self) -> torch.dtype:
        """Of weights that aren't trained."""
        return self.dtype


def widen_stream(model: nn.Module) -> None:
    """Let what embeddings give be fp32, and with it all that is summed up over the layers, as fp16
    ends at 65,504. Their weights stay as they are; those of layer norms, which are few, are fp32
    too: not every processor's take another type than their input's."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(_widened)
        elif isinstance(module, nn.LayerNorm):
            module.float()


def _widened(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()


def resolve_precision(wish: str, gpus: int) -> Precision:
    """What `auto` comes to here: bf16 where the hardware is fast at it."""
    if wish == "bf16" and gpus and not device.multiplies_bf16():
        log(
            "warning: this GPU emulates bfloat16, slower than it computes in fp32: set "
            "training.precision to auto or fp16"
        )
    if wish != "auto":
        return Precision(wish)
    if gpus:
        return Precision("bf16" if device.multiplies_bf16() else "fp16")
    return Precision("bf16" if cpu_has_fast_bf16() else "fp32")
