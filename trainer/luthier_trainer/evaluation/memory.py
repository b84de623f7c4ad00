"""What measuring a batch of rows holds beside the model."""

from collections.abc import Sequence
from typing import Any

import torch

from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.objectives.outputlayer import evaluated_bytes
from luthier_trainer.objectives.tokens import IGNORED


def evaluation_bytes(
    model: Any,
    objective: Objective,
    items: Sequence[Item],
    batch_size: int,
    max_new_tokens: int,
    dtype: torch.dtype,
) -> int:
    """Bytes of the largest batch: logits, the work of a layer, and where text is written the cache
    of keys and values. `dtype`: the arithmetic's. Found by arithmetic, from the model's config."""
    if not items:
        return 0
    known = lengths(items)
    order = sorted(range(len(items)), key=known.__getitem__, reverse=True)[:batch_size]
    rows, longest = len(order), known[order[0]]
    config = unwrapped(model).config.get_text_config()
    width: int = config.hidden_size
    inner: int = getattr(config, "intermediate_size", None) or 4 * width
    tokens = rows * longest
    layer = tokens * (4 * width + 2 * inner) * dtype.itemsize
    if not objective.head.auto_class.endswith("LM"):
        return layer  # a head of few classes
    labels = objective.collate([items[index] for index in order])["labels"]
    if not config.is_encoder_decoder:
        labels = labels[:, 1:]
    logits = evaluated_bytes(
        model,
        positions=int((labels != IGNORED).any(dim=0).sum()),
        targets=int((labels != IGNORED).sum()),
        rows=rows,
        dtype=dtype,
        whole=objective.answer_kind == "label" or config.is_encoder_decoder,
    )
    if objective.answer_kind not in ("text", "preference"):
        return layer + logits
    cached: int = rows * (longest + max_new_tokens) * _cached_per_token(config) * dtype.itemsize
    return layer + max(logits, cached)


def _cached_per_token(config: Any) -> int:
    """Numbers that all layers remember of a token."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width)
