"""Models that make a vector of a text: pairs of texts that are alike or not."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from luthier_api.training import Similarity
from luthier_trainer.data.examples import Example, Pair
from luthier_trainer.errors import data_error
from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.custom import Custom, is_of_pairs, scaled
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import divided
from luthier_trainer.objectives.numbers import halves, joined, parted, whole
from luthier_trainer.objectives.objective import AnswerKind, Batch, Head, Prediction
from luthier_trainer.objectives.texts import TextEncoder
from luthier_trainer.objectives.tokens import pad_token, token_texts


@dataclass(frozen=True, slots=True)
class PairIds:
    """Token ids of two texts, how alike they are (NaN: the data doesn't say), and how many
    tokens were cut off."""

    first: array[int]
    second: array[int]
    label: float
    cut: int

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def numbers(self) -> array[int]:
        return joined([*halves(self.label), self.cut], self.first, self.second)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> PairIds:
        (*label, cut), [first, second] = parted(numbers, 3, 2)
        return cls(first, second, whole(*label), cut)


@dataclass(frozen=True)
class PairOutputs:
    """What a custom loss (outputs, batch) gets: vectors [pairs, size] and cosines [pairs]."""

    first: Tensor
    second: Tensor
    cosine: Tensor


class Pairs:
    """The answer is the cosine of two texts' vectors.

    cosine: (cosine - label)². contrastive, with the distance d = 1 - cosine: half of
    label × d² + (1 - label) × max(margin - d, 0)² (Hadsell et al. 2006). in_batch_negatives:
    cross-entropy of scale × the cosines of a first text with all second ones of its batch
    (https://arxiv.org/abs/1705.00652): its loss depends on the batch, so accumulating batches
    isn't the same as a larger one. A text that is in the batch twice is no negative of itself, and
    its partners none of it: they are left out. Measured, pairs with a label below 1 are only what
    others are told from. A loss of a batch is summed over its pairs.

    A custom loss is called as (outputs: PairOutputs, batch), or in the form of pairs as
    (output1, output2, label): the vectors [pairs, size] and the labels as the data has them.
    """

    head = Head("AutoModel")
    answer_kind: AnswerKind = "score"
    item = PairIds

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        similarity: Similarity,
        *,
        custom: Custom | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._texts = TextEncoder(tokenizer, max_length)
        self.max_length = max_length
        self._similarity = similarity
        self._pad_id = pad_token(tokenizer)
        self._custom = custom
        self._negatives = custom is None and similarity.objective == "in_batch_negatives"

    def encode(self, examples: Sequence[Example]) -> Sequence[PairIds]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[Pair]) -> list[PairIds]:
        for example in examples:
            if example.label is None and not (self._negatives or self._custom):
                raise data_error(
                    "MissingLabel",
                    f"{example.place}: the row doesn't say how alike its texts are; add a label, "
                    "or set training.similarity.objective to in_batch_negatives",
                    "dataset.columns.label",
                )
        count = len(examples)
        texts = self._texts.encode([e.first for e in examples] + [e.second for e in examples])
        return [
            PairIds(
                first.ids,
                second.ids,
                math.nan if example.label is None else float(example.label),
                first.cut + second.cut,
            )
            for first, second, example in zip(texts[:count], texts[count:], examples, strict=True)
        ]

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask [2 × pairs, longest]: all first texts, then all second
        ones; labels: fp32 [pairs]."""
        ids = [item.first for item in items] + [item.second for item in items]
        return {
            "input_ids": padded(ids, self._pad_id),
            "attention_mask": padding_mask(ids),
            "labels": torch.tensor([item.label for item in items]),
        }

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return len(batch["labels"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        outputs = self._embed(model, batch)
        if self._custom:
            return scaled(self._call(outputs, batch), len(batch["labels"]), count)
        return divided(self._losses(outputs, batch).sum(), count)

    def _call(self, outputs: PairOutputs, batch: Mapping[str, Tensor]) -> Tensor:
        assert self._custom
        if is_of_pairs(self._custom):
            return self._custom(outputs.first, outputs.second, batch["labels"])
        return self._custom(outputs, dict(batch))

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        """With a custom loss, each example's is the mean of its batch."""
        batch = on_device(model, self.collate(items))
        outputs = self._embed(model, batch)
        if self._custom:
            losses = self._call(outputs, batch).mean().expand(len(items))
        else:
            losses = self._losses(outputs, batch)
        counted = [1] * len(items)
        if self._negatives:
            # Without a label, which is NaN, all are alike.
            counted = [int(not item.label < 1) for item in items]
        return [
            Prediction(loss * count, count, cosine if answers else None)
            for loss, count, cosine in zip(
                losses.tolist(), counted, outputs.cosine.tolist(), strict=True
            )
        ]

    def _losses(self, outputs: PairOutputs, batch: Mapping[str, Tensor]) -> Tensor:
        """fp32 [pairs]."""
        cosine, labels = outputs.cosine, batch["labels"]
        match self._similarity.objective:
            case "cosine":
                return (cosine - labels).square()
            case "contrastive":
                distance = 1 - cosine
                apart = (self._similarity.margin - distance).clamp(min=0)
                return (labels * distance.square() + (1 - labels) * apart.square()) / 2
        first, second = (F.normalize(each, dim=-1) for each in (outputs.first, outputs.second))
        scores = (self._similarity.scale * first @ second.T).float()
        scores = scores.masked_fill(_no_negatives(batch), -torch.inf)
        own = torch.arange(len(scores), device=scores.device)
        return F.cross_entropy(scores, own, reduction="none")

    def _embed(self, model: nn.Module, batch: Mapping[str, Tensor]) -> PairOutputs:
        mask = batch["attention_mask"]
        output = model(input_ids=batch["input_ids"], attention_mask=mask)
        # Virtual tokens of the method aren't the text's.
        hidden = output.last_hidden_state[:, -mask.shape[1] :].float()
        first, second = pooled(hidden, mask, self._similarity.pooling).chunk(2)
        return PairOutputs(first, second, F.cosine_similarity(first, second, dim=-1))

    def gold(self, example: Any) -> float | None:
        label: float | None = example.label
        return label

    def show(self, example: Any) -> str:
        return f"{example.first}\n{example.second}"

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """Tokens of the first n items as text: all of them are compared."""
        return [
            [
                (text, True)
                for ids in (items[index].first, items[index].second)
                for text in token_texts(self._tokenizer, ids)
            ]
            for index in range(min(n, len(items)))
        ]


def _no_negatives(batch: Mapping[str, Tensor]) -> Tensor:
    """[pairs, pairs]: whether the second text of a pair (column), which isn't the row's own, is
    none to tell the row's first text from: the same as either text of the row, or the partner of
    the same first text."""
    texts = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -1)
    _, number = torch.unique(texts, dim=0, return_inverse=True)  # the same of the same tokens
    first, second = number.chunk(2)
    alike: Tensor = first[:, None] == first[None]
    alike |= second[:, None] == second[None]
    alike |= first[:, None] == second[None]
    alike.fill_diagonal_(False)
    return alike


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """A vector of each text: [texts, tokens, size] → [texts, size]; padding is at the right."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = mask.sum(dim=1) - 1
        # Not len(), which a graph of any number of texts can't have.
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
    weights = mask[..., None].to(hidden.dtype)
    # Zeroed, not multiplied: nothing that stands in padding counts.
    return hidden.masked_fill(weights == 0, 0).sum(dim=1) / weights.sum(dim=1)
