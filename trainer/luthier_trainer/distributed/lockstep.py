"""Forward passes of a shared-out model, one in each process at a time.

A layer is put together by all processes at once, so that none may run it alone. Where each has rows
of its own to answer, they need different numbers of passes: each pass is announced, and a process
that has no more of its own joins in those of the others, with a token that stands for nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from luthier_trainer.distributed.shards import shards_of
from luthier_trainer.errors import Interrupted


@contextmanager
def in_step(base: Any) -> Iterator[None]:
    """Within it each forward pass waits for one of each other process; it ends when all have ended.
    `base`: a model of transformers, whatever is around it.

    Raises Interrupted in all of them before the next pass, where one was told to stop.
    """
    shards = shards_of(base)
    if shards is None:
        yield
        return
    world, ends = shards.world, False

    def announced(working: bool) -> bool:
        """Whether any process works on."""
        count, told = world.add(float(working), float(world.told_to_stop()))
        if told:
            raise Interrupted
        return count > 0

    def before(*_: Any) -> None:
        if not ends:
            announced(True)

    hook = base.register_forward_pre_hook(before, prepend=True)
    try:
        yield
        ends = True
        nothing = torch.zeros(1, 1, dtype=torch.long, device=base.device)
        while announced(False):
            base(input_ids=nothing)
    finally:
        hook.remove()
