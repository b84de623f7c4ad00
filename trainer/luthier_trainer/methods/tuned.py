"""A model in training: what a method made of the base."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Merged:
    """A merged model on disk, and what the merge changed.

    `difference`: largest difference of logits between the saved and reloaded merged model
    and adapter + unquantised base, on a few rows. `warning`: what else is to be told of it.
    """

    folder: Path
    difference: float
    warning: str | None = None


class Tuned(Protocol):
    """The model of a method: full, lora, qlora, adapter, ia3, prefix or prompt."""

    # The nn.Module to train; its trainable parameters are fp32, but where all of them are bf16.
    model: Any
    resolved: dict[str, str]  # what `auto` came to, e.g. {"targetModules": "k_proj, q_proj"}
    # What `base` puts in place of weights that are trained where they are, by name.
    beside: dict[str, Tensor]
    artifact: str  # folder of the artifact that `save` fills: "adapter" or "model"

    def base(self) -> AbstractContextManager[Any]:
        """Within it the model yielded answers as the base does. For `full` the original
        weights are loaded again, and the tuned ones come back at the end."""
        ...

    def take(self, folder: Path) -> None:
        """Begin with the weights that `save` wrote of a run with the same method and settings.
        Raises ValueError where they are others."""
        ...

    def settle(self) -> None:
        """All is trained: round it to the type that `save` writes it in, so that what is measured
        is what is published."""
        ...

    def collect(self, folder: Path) -> None:
        """All processes of a shared-out model: let the first one have all that `save` writes, in
        files of the folder. Raises PeersLost."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and configuration so that plain transformers and peft load them (the
        bottleneck adapters: luthier_trainer.methods.bottleneck.load). safetensors only."""
        ...

    def merge(self, folder: Path, memory: int | None = None) -> Merged:
        """Write the merged, unquantised model. `memory`: bytes of the machine's that this process
        may use. Raises TrainerError (NotMergeable)."""
        ...
