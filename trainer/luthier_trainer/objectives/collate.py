"""Examples of different lengths as one padded batch of tensors."""

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from luthier_trainer.objectives.objective import Batch
from luthier_trainer.objectives.tokens import IGNORED, Tokens

# Real tokens of each row of a packed batch, which has no attention mask.
ROW_TOKENS = "row_tokens"


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
    """input_ids, attention_mask, labels: int64 [examples, longest], padded at the right.

    In a causal model no token sees what is right of it, so padding changes nothing.
    """
    ids = [tokens.ids for tokens in batch]
    return {
        "input_ids": padded(ids, pad_id),
        "attention_mask": padding_mask(ids),
        "labels": padded([tokens.targets for tokens in batch], IGNORED),
    }


def collate_packed(rows: Sequence[Sequence[Tokens]], pad_id: int) -> Batch:
    """Rows of several examples each: input_ids, position_ids, labels [rows, longest], and
    row_tokens [rows].

    Positions begin anew with each example, which is what keeps examples apart: there must be
    no attention mask. An example's first token follows from nothing, so no loss counts it;
    what fills a row up is an example of its own that the loss doesn't count.
    """
    ids, positions, labels = [], [], []
    for row in rows:
        row_ids, row_positions, row_labels = array("i"), array("i"), array("i")
        for tokens in row:
            targets = tokens.targets
            targets[:1] = array("i", [IGNORED])[: len(targets)]
            row_ids += tokens.ids
            row_positions += array("i", range(len(tokens)))
            row_labels += targets
        ids.append(row_ids)
        positions.append(row_positions)
        labels.append(row_labels)
    width = max(map(len, ids))
    for row_positions in positions:
        row_positions += array("i", range(width - len(row_positions)))
    return {
        "input_ids": padded(ids, pad_id),
        "position_ids": padded(positions, 0),
        "labels": padded(labels, IGNORED),
        ROW_TOKENS: torch.tensor([len(row) for row in ids]),
    }


def count_targets(labels: Tensor) -> int:
    """Tokens that the loss counts: the first one follows from nothing."""
    return int((labels[:, 1:] != IGNORED).sum())
