"""Examples of different lengths as one batch of tensors: padded, or joined to one row."""

from array import array
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from luthier_trainer.objectives.objective import Batch
from luthier_trainer.objectives.tokens import IGNORED, Tokens
from luthier_trainer.objectives.varlen import BOUNDS, PLACES

# Where the tokens stand that a target follows: counted over all rows, one behind the other. Found
# here: on a GPU, looking for them waits for the device.
TARGET_POSITIONS = "target_positions"


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """int64 [rows, longest], filled up at the right."""
    width = max(map(len, rows))
    out = torch.full((len(rows), width), fill, dtype=torch.int64)
    for number, row in enumerate(rows):
        if len(row):
            content = torch.frombuffer(array("i", row), dtype=torch.int32)
            out[number, : len(row)] = content
    return out


def padding_mask(rows: Sequence[Sequence[int]]) -> Tensor:
    """int64 [rows, longest]: 1 at tokens, 0 at padding."""
    lengths = torch.tensor([len(row) for row in rows])
    return (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()


def collate(batch: Sequence[Tokens], pad_id: int) -> Batch:
    """input_ids, attention_mask, labels: int64 [examples, longest], padded at the right;
    target_positions: int64 [targets].

    In a causal model no token sees what is right of it, so padding changes nothing.
    """
    ids = [tokens.ids for tokens in batch]
    labels = padded([tokens.targets for tokens in batch], IGNORED)
    return {
        "input_ids": padded(ids, pad_id),
        "attention_mask": padding_mask(ids),
        "labels": labels,
        TARGET_POSITIONS: target_positions(labels),
    }


def joined(batch: Sequence[Tokens]) -> Batch:
    """All examples in one row, one behind the other: input_ids, position_ids, labels: int64 [1,
    tokens]; target_positions as of `collate`; and what attention keeps them apart by, see
    varlen.attention.

    An example's first token follows from nothing, so no loss counts it.
    """
    ids, positions, labels = array("i"), array("i"), array("i")
    bounds = [0]
    for tokens in batch:
        targets = tokens.targets
        targets[:1] = array("i", [IGNORED])[: len(targets)]
        ids += tokens.ids
        positions += array("i", range(len(tokens)))
        labels += targets
        bounds.append(len(ids))
    in_one = padded([labels], IGNORED)
    return {
        "input_ids": padded([ids], 0),
        "position_ids": padded([positions], 0),
        "labels": in_one,
        TARGET_POSITIONS: target_positions(in_one),
        BOUNDS: torch.tensor(bounds, dtype=torch.int32),
        PLACES: padded([range(a, b) for a, b in pairwise(bounds)], len(ids)),
    }


def target_positions(labels: Tensor) -> Tensor:
    """int64 [targets]: places in labels.flatten() of the tokens before those that count."""
    counted = labels != IGNORED
    counted[:, 0] = False
    return counted.flatten().nonzero().flatten() - 1


def count_targets(labels: Tensor) -> int:
    """Tokens that the loss counts: the first one follows from nothing."""
    return int((labels[:, 1:] != IGNORED).sum())
