"""Examples of different lengths as one padded batch of tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from luthier_trainer.tokens import IGNORED, Tokens


def collate(batch: Sequence[Tokens], pad_id: int) -> dict[str, Tensor]:
    """input_ids, attention_mask, labels: int64 [examples, longest], padded at the right.

    In a causal model no token sees what is right of it, so padding changes nothing.
    """
    longest = max(len(tokens) for tokens in batch)
    shape = (len(batch), longest)
    ids = torch.full(shape, pad_id, dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    for row, tokens in enumerate(batch):
        length = len(tokens)
        ids[row, :length] = torch.tensor(tokens.ids)
        mask[row, :length] = 1
        labels[row, :length] = torch.tensor(tokens.targets)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def count_targets(labels: Tensor) -> int:
    """Tokens that the loss counts: the first one follows from nothing."""
    return int((labels[:, 1:] != IGNORED).sum())
