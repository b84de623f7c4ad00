"""Batches for the training loop, each with the indices of its rows."""

import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from luthier_trainer.machine import device
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Batch, Item, Objective
from luthier_trainer.training.sampler import (
    EpochBatches,
    Key,
    PackedBatches,
    Plan,
    grouped,
    shuffled,
)
from luthier_trainer.training.session import Session

_ROWS = "luthier_rows"


class _Items(Dataset[tuple[Key, Any]]):
    """Examples, and packed rows of them, by their keys."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, key: Key) -> tuple[Key, Any]:
        if isinstance(key, tuple):
            return key, [self._items[index] for index in key]
        return key, self._items[key]


class Loader(DataLoader[Any]):
    """Passes the position on to its batches."""

    def begin(self, epoch: int, batches: int = 0) -> None:
        """The next iteration is that of this epoch, behind so many of its batches."""
        self.batch_sampler.begin(epoch, batches)  # type: ignore[union-attr]


def train_loader(
    items: Sequence[Item], objective: Objective, session: Session, batches_per_step: int
) -> Loader:
    """This process' batches of each epoch in their order, padded, on the CPU. Its length is the
    number of those of all processes."""
    collate = session.packing.collate if session.packing else objective.collate
    world, size = session.world, session.resolved.batch_size
    batches = EpochBatches(plan(items, session), size, batches_per_step, world.rank, world.size)
    return Loader(
        _Items(items),
        batch_sampler=batches,
        collate_fn=partial(_collate, collate),
        num_workers=session.resolved.workers,
        worker_init_fn=_begin_worker,
        pin_memory=device.on_gpu(),
        persistent_workers=session.resolved.workers > 0,
        # Else every epoch draws a number from the global generator.
        generator=torch.Generator().manual_seed(session.training.seed),
    )


def plan(items: Sequence[Item], session: Session) -> Plan:
    """The order that the spec asks for."""
    size, seed = session.resolved.batch_size, session.training.seed
    if session.packing:
        longest = session.training.max_length
        return PackedBatches(lengths(items), longest, size, seed, session.packing.pack)
    if session.training.group_by_length:
        return partial(grouped, lengths(items), size, seed)
    return partial(shuffled, len(items), size, seed)


def take_rows(batch: dict[str, Tensor]) -> list[int]:
    """Remove the indices of a batch's rows from it, and return them."""
    rows: list[int] = batch.pop(_ROWS).tolist()
    return rows


def _collate(
    collate: Callable[[Sequence[Any]], Batch], pairs: Sequence[tuple[Key, Any]]
) -> Mapping[str, Tensor]:
    keys = [key if isinstance(key, tuple) else (key,) for key, _ in pairs]
    rows = torch.tensor([index for key in keys for index in key])
    return {**collate([value for _, value in pairs]), _ROWS: rows}


def _begin_worker(_number: int) -> None:
    # The request to stop is the trainer's: its workers end when it ends them.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
