"""A model whose weights are shared out among the processes that train it: torch's FSDP2.

Each has some rows of every matrix, and of its gradient and the optimiser's state. A layer is put
together from them while it runs. Vectors (biases, norms) are whole in each, and so is what an
adapter trains: they are small, and what is done with them stays as it is.
"""

from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from luthier_trainer.distributed.shards import Shards
from luthier_trainer.distributed.world import World
from luthier_trainer.machine import device


def share_out(
    model: nn.Module,
    base: Any,
    world: World,
    compute: torch.dtype | None,
    beside: dict[str, Tensor],
) -> None:
    """Give each process its part of the model, whose values are the first one's: the others' may be
    on the meta device, where they take no memory. No process but the first holds more of it at once
    than its parts and a layer.

    `base`: the model of transformers within, through which each forward pass goes. `compute`: the
    type that trained matrices are put together in, where it isn't theirs: what autocast would make
    of them, if they are fp32. `beside`: other tensors that all are to have.
    Raises PeersLost.
    """
    in_full = all(p.requires_grad for p in model.parameters())
    # No other weight may be held here: cut, it would keep its memory.
    whole = {p for p in model.parameters() if p.ndim < 2 or (p.requires_grad and not in_full)}
    everyone = dist.group.WORLD
    assert everyone
    mesh = DeviceMesh.from_group(everyone, device.name())
    # The sums are fp32's, and it is the losses that are divided by what all learn from.
    plain = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    layer = MixedPrecisionPolicy(
        param_dtype=compute if in_full and base.dtype == torch.float32 else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    _check_alike(model, world)
    placed: set[int] = set()
    sizes = []
    for unit in [*layers_of(base), base]:
        _place(unit, world, whole, placed)
        sizes.append(sum(_bytes(p) for p in unit.parameters() if p not in whole))
        fully_shard(
            unit,
            mesh=mesh,
            reshard_after_forward=True,
            mp_policy=plain if unit is base else layer,
            ignored_params=whole,
        )
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    _place(model, world, whole, placed)
    for name, tensor in beside.items():
        beside[name] = _from_first(tensor, world)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    shared = {name for name, p in trained.items() if isinstance(p, DTensor)}
    *layers, rest = sizes
    largest = max(layers, default=0)
    # The next layer is fetched while one works; a gradient is whole until it is summed up.
    together = rest + 2 * largest + (max(rest, largest) if in_full else 0)
    shards = Shards(trained, shared, world, together)
    model.luthier_shards = base.luthier_shards = shards  # type: ignore[assignment]


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of a model's stacks, none within another."""
    found: list[nn.Module] = []
    inner: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and module not in inner:
            for each in module:
                inner.update(each.modules())
                if any(p.ndim > 1 for p in each.parameters()):
                    found.append(each)
    return found


def _bytes(weight: Tensor) -> int:
    """None of one that is cut already."""
    return 0 if isinstance(weight, DTensor) else weight.nbytes


def _check_alike(model: nn.Module, world: World) -> None:
    """All have the same weights in the same order, or what one sends is taken for another."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    own = [[name, list(t.shape), str(t.dtype)] for name, t in tensors]
    if world.share(own if world.is_first else None) != own:
        raise AssertionError("the model has other weights here than in the first process")


def _place(unit: nn.Module, world: World, stays: set[nn.Parameter], placed: set[int]) -> None:
    """Put all that isn't there yet on the device, with the first process' values. `stays`: weights
    that are never cut; `placed`: ids of what is there for good."""
    for tensor in [*unit.parameters(), *unit.buffers()]:
        if isinstance(tensor, DTensor) or id(tensor) in placed:
            continue
        here = _from_first(tensor, world)
        if not tensor.is_meta:
            tensor.data = here
        else:
            if isinstance(tensor, nn.Parameter):
                here = nn.Parameter(here, tensor.requires_grad)
            torch.utils.swap_tensors(tensor, here)  # type: ignore[no-untyped-call]
        if not isinstance(tensor, nn.Parameter) or tensor in stays:
            placed.add(id(tensor))


def _from_first(tensor: Tensor, world: World) -> Tensor:
    """The first process' numbers, on the device; of the own one type and shape."""
    here = torch.empty_like(
        tensor, device=device.name(), memory_format=torch.contiguous_format, requires_grad=False
    )
    if world.is_first:
        here.copy_(tensor.detach())
    world.copy_of_first(here)
    return here
