"""What all heads of a text share: class, classes or number."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.objective import Batch, Item
from luthier_trainer.objectives.tokens import token_texts

Shown = list[list[tuple[str, bool]]]


def text_batch(items: Sequence[Any], pad_id: int, labels: Tensor) -> Batch:
    """input_ids, attention_mask [examples, longest], and the labels."""
    ids = [item.ids for item in items]
    return {"input_ids": padded(ids, pad_id), "attention_mask": padding_mask(ids), "labels": labels}


def forward(model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
    return model(**{name: value for name, value in batch.items() if name != "labels"})


def shown(tokenizer: Any, items: Sequence[Any], targets: Sequence[str]) -> Shown:
    """Tokens of each item as text; the loss counts none of them, but its target."""
    return [
        [(text, False) for text in token_texts(tokenizer, item.ids)] + [(target, True)]
        for item, target in zip(items, targets, strict=True)
    ]


def first(items: Sequence[Item], n: int) -> list[Any]:
    return [items[index] for index in range(min(n, len(items)))]
