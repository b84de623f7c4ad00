"""What a process has of a model that is shared out (fsdp.py)."""

from collections.abc import Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.distributed.parts import Part
from luthier_trainer.distributed.world import World


class Shards:
    """What this process has of a model's trained weights. The optimiser, clipping and checkpoints
    see `weights` alone: plain tensors, which share their memory with those of the model."""

    def __init__(
        self, trained: Mapping[str, Any], shared: Set[str], world: World, together: int
    ) -> None:
        """`trained`: weights by name; the `shared` ones are of torch's DTensor. `together`: bytes
        of what is put together at once."""
        self.together = together
        self.part = Part(world.rank, world.size)
        self.world = world
        self._shared = {name: trained[name] for name in trained if name in shared}
        self.shapes: dict[str, torch.Size] = {name: p.shape for name, p in self._shared.items()}
        self.weights: dict[str, nn.Parameter] = {
            name: nn.Parameter(p.to_local().detach()) if name in self._shared else p
            for name, p in trained.items()
        }

    @property
    def whole(self) -> list[nn.Parameter]:
        """Those that are whole in each process."""
        return [p for name, p in self.weights.items() if name not in self._shared]

    @property
    def parts(self) -> list[nn.Parameter]:
        """Those of which it has a part."""
        return [self.weights[name] for name in self._shared]

    def fitting(self, found: Tensor, weight: Tensor) -> Tensor:
        """What belongs to a weight of this process, of something that may be whole."""
        return found if found.shape == weight.shape or found.dim() == 0 else self.part.cut(found)

    def take_gradients(self) -> None:
        """Those of the parts, which FSDP2 has summed up over all."""
        for name, parameter in self._shared.items():
            local = self.weights[name]
            assert local.data_ptr() == parameter.to_local().data_ptr()
            local.grad = None if parameter.grad is None else parameter.grad.to_local()

    def drop_gradients(self) -> None:
        for parameter in chain(self.weights.values(), self._shared.values()):
            parameter.grad = None

    @contextmanager
    def exchanged(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it all weights have the first process' values; those of the others say nothing."""
        kept = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.put(values)
        del values
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(kept[name])

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Set all weights to the first process' values, one at a time."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                shape = self.shapes.get(name, weight.shape)
                whole = torch.empty(shape, dtype=weight.dtype, device=weight.device)
                if self.world.is_first:
                    whole.copy_(values[name])
                self.world.copy_of_first(whole)
                weight.copy_(self.part.cut(whole) if name in self._shared else whole)

    def collect(self, folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
        """All weights, whole, in the first process, in files of the folder that the system maps."""
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, Tensor] = {}
        for number, (name, weight) in enumerate(self.weights.items()):
            if name not in self._shared:
                whole = weight.detach()
            else:
                shape = self.shapes[name]
                padded = weight.new_zeros(-(-shape[0] // self.part.of), *shape[1:])
                padded[: len(weight)] = weight.detach()
                pieces = self.world.collect(padded)
                whole = torch.cat(pieces)[: shape[0]] if pieces else padded
            if self.world.is_first:
                kept = torch.from_file(
                    str(folder / str(number)), shared=True, size=whole.numel(), dtype=dtype
                )
                found[name] = kept.view(whole.shape).copy_(whole)
        return found


def shards_of(model: Any) -> Shards | None:
    """Of a model that was shared out."""
    found: Shards | None = getattr(model, "luthier_shards", None)
    return found


def without_gradients(model: Any) -> AbstractContextManager[None]:
    """For passes that learn nothing. What FSDP2 puts together in inference mode could be learnt
    from no more."""
    return torch.no_grad() if shards_of(model) else torch.inference_mode()


def parts_of(model: Any) -> Shards | None:
    """Of a model whose trained weights are shared out; of others each process has them whole."""
    found = shards_of(model)
    return found if found and found.shapes else None


def trained_weights(model: Any) -> dict[str, nn.Parameter]:
    """What this process trains, by the names of the weights that it is, or is a part of."""
    shards = shards_of(model)
    if shards:
        return shards.weights
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
