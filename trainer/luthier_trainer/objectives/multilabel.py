"""Models with a head that says of each class whether a text has it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.data.examples import Example, MultiLabelled
from luthier_trainer.models.heads import Head
from luthier_trainer.objectives.classifier import index_of, weight_notes
from luthier_trainer.objectives.classloss import binary_cross_entropy
from luthier_trainer.objectives.custom import Custom, scaled
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import divided
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.objective import AnswerKind, Batch, Prediction
from luthier_trainer.objectives.reading import Reading
from luthier_trainer.objectives.textheads import Shown, first, forward, shown, text_batch
from luthier_trainer.objectives.texts import TextEncoder
from luthier_trainer.objectives.tokens import pad_token


@dataclass(frozen=True, slots=True)
class MultiClassed:
    """Token ids of a text, the indices of its classes, and how many tokens were cut off."""

    ids: array[int]
    labels: array[int]
    cut: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def numbers(self) -> array[int]:
        return joined([self.cut], self.ids, self.labels)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> MultiClassed:
        [cut], [ids, labels] = parted(numbers, 1, 2)
        return cls(ids, labels, cut)


class MultiLabel:
    """The answer is the classes whose probability reaches their threshold (reading.py).

    The loss is the binary cross-entropy of each class of each text, and counts all alike. With
    `weights` a class counts so much more where a text has it (torch's pos_weight). A custom loss
    gets the outputs (logits [examples, classes]) and the batch with `labels`, 0 or 1 of the same
    shape. What is measured is the plain loss.
    """

    answer_kind: AnswerKind = "labels"
    item = MultiClassed

    def __init__(
        self,
        tokenizer: Any,
        labels: Sequence[str],
        max_length: int,
        *,
        weights: Sequence[float] | None = None,
        gamma: float = 0.0,
        custom: Custom | None = None,
    ) -> None:
        self.head = Head(
            "AutoModelForSequenceClassification", tuple(labels), "multi_label_classification"
        )
        self.reading = Reading(answer="labels")
        self.pad_id = pad_token(tokenizer)
        self._tokenizer = tokenizer
        self._texts = TextEncoder(tokenizer, max_length)
        self.max_length = max_length
        self._indices = {label: index for index, label in enumerate(labels)}
        self._weights = None if weights is None else torch.tensor(weights)
        self._gamma = gamma
        self._custom = custom

    @property
    def notes(self) -> dict[str, str]:
        """What the weights came to, for people."""
        return weight_notes(self._weights)

    def encode(self, examples: Sequence[Example]) -> Sequence[MultiClassed]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[MultiLabelled]) -> list[MultiClassed]:
        texts = self._texts.encode([example.text for example in examples])
        return [
            MultiClassed(text.ids, self._of(example), text.cut)
            for text, example in zip(texts, examples, strict=True)
        ]

    def _of(self, example: MultiLabelled) -> array[int]:
        found = (index_of(label, self._indices, example.place) for label in example.labels)
        return array("i", sorted(found))

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask [examples, longest]; labels [examples, classes], 0 or 1."""
        labels = torch.zeros(len(items), len(self.head.labels))
        for row, item in enumerate(items):
            labels[row, list(item.labels)] = 1
        return text_batch(items, self.pad_id, labels)

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return len(batch["labels"]) if self._custom else batch["labels"].numel()

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        outputs, labels = forward(model, batch), batch["labels"]
        if self._custom:
            return scaled(self._custom(outputs, dict(batch)), len(labels), count)
        weights = None if self._weights is None else self._weights.to(labels.device)
        losses = binary_cross_entropy(outputs.logits.float(), labels, weights, self._gamma)
        return divided(losses.sum(), count)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """[examples, classes], in fp32."""
        logits: Tensor = forward(model, batch).logits
        return logits.float()

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        logits = self.logits(model, batch)
        losses = binary_cross_entropy(logits, batch["labels"]).sum(-1).tolist()
        targets, names, reading = len(self.head.labels), self.head.labels, self.reading
        if not answers:
            return [Prediction(loss, targets) for loss in losses]
        reached = torch.tensor([reading.threshold(index) for index in range(targets)])
        given = (logits / reading.temperature).sigmoid().cpu() >= reached
        return [
            Prediction(loss, targets, [names[index] for index in row.nonzero().flatten().tolist()])
            for loss, row in zip(losses, given, strict=True)
        ]

    def gold(self, example: Any) -> list[str]:
        return list(example.labels)

    def show(self, example: Any) -> str:
        text: str = example.text
        return text

    def mask_view(self, items: Sequence[Any], n: int) -> Shown:
        """Tokens of the first n items as text; the loss counts none of them, but the classes."""
        some = first(items, n)
        names = [", ".join(self.head.labels[i] for i in item.labels) or "(none)" for item in some]
        return shown(self._tokenizer, some, names)
