"""How far a candidate's outputs are from the source's, on the same tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from luthier_trainer.models.heads import Head

Outputs = npt.NDArray[np.float32]
_ROWS, _TOKENS = 4, 32
_SEED = 0


def ordinary_tokens(tokenizer: Any, vocabulary: int) -> list[int]:
    """The ids of words, and of no special token."""
    special = set(tokenizer.all_special_ids)
    known = min(len(tokenizer), vocabulary)
    return [index for index in range(known) if index not in special]


def fixed_rows(ordinary: Sequence[int], head: Head) -> dict[str, Tensor]:
    """Rows that are the same for every model of a vocabulary."""
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randint(len(ordinary), (_ROWS, _TOKENS), generator=generator)
    ids = torch.tensor(ordinary)[drawn]
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if head.auto_class == "AutoModelForSeq2SeqLM":
        rows["decoder_input_ids"] = ids
    return rows


def outputs(model: Any, rows: dict[str, Tensor]) -> Outputs:
    """Its logits, or the vectors of a model without a head."""
    with torch.inference_mode():
        found = model(**rows)
    tensor = getattr(found, "logits", None)
    tensor = found.last_hidden_state if tensor is None else tensor
    as_float: Outputs = tensor.float().numpy()
    return as_float


def difference(found: Outputs, expected: Outputs) -> float:
    """Of any output, at most."""
    return float(np.abs(found - expected).max())
