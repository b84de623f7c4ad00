"""The gradient of a step, of all processes: summed up, clipped, and let go."""

from typing import Any

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from luthier_trainer.distributed.shards import shards_of, trained_weights
from luthier_trainer.distributed.world import World


def sum_gradients(model: Any, world: World) -> None:
    """Let each process have the sum over all, of a shared-out weight for its part. Raises
    PeersLost."""
    shards = shards_of(model)
    if shards:
        shards.take_gradients()
        world.add_gradients(shards.whole)
    elif world.size > 1:
        world.add_gradients(list(trained_weights(model).values()))


def clip_gradients(model: Any, most: float, world: World) -> Tensor:
    """The norm of the whole gradient, which is clipped to `most`. Raises PeersLost."""
    shards = shards_of(model)
    weights = list(trained_weights(model).values())
    if shards is None:
        return clip_grad_norm_(weights, most)
    squares = get_total_norm([p.grad for p in shards.parts if p.grad is not None]).square()
    squares = squares.to(weights[0].device)
    world.add_tensor(squares)
    squares += get_total_norm([p.grad for p in shards.whole if p.grad is not None]).square()
    norm: Tensor = squares.sqrt()
    clip_grads_with_norm_(weights, most, norm)
    return norm


def drop_gradients(model: Any) -> None:
    """Let go of their memory."""
    shards = shards_of(model)
    if shards:
        shards.drop_gradients()
    else:
        model.zero_grad()
