"""Models with a head for the classes of texts."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.data.examples import Example, Labelled
from luthier_trainer.data.row import hidden
from luthier_trainer.errors import data_error
from luthier_trainer.objectives.classloss import summed_cross_entropy
from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.custom import Custom, scaled
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import divided, losses_of_examples
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.objective import AnswerKind, Batch, Head, Prediction
from luthier_trainer.objectives.texts import TextEncoder
from luthier_trainer.objectives.tokens import pad_token, token_texts


@dataclass(frozen=True, slots=True)
class Classed:
    """Token ids of a text, the index of its class, and how many tokens were cut off."""

    ids: array[int]
    label: int
    cut: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def numbers(self) -> array[int]:
        return joined([self.label, self.cut], self.ids)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> Classed:
        (label, cut), [ids] = parted(numbers, 2, 1)
        return cls(ids, label, cut)


class Classifier:
    """The answer is the class of the largest logit. A decoder's head looks at the last token
    that isn't config.pad_token_id, which must be `pad_id`.

    A custom loss gets the outputs (logits [examples, classes]) and the batch with `labels`. In
    ours a row counts by the `weights` of the classes, and with `gamma` less where it is sure.
    What is measured is the plain loss: models that are trained by others can be compared.
    """

    answer_kind: AnswerKind = "label"
    item = Classed

    def __init__(
        self,
        tokenizer: Any,
        labels: Sequence[str],
        max_length: int,
        *,
        smoothing: float = 0.0,
        weights: Sequence[float] | None = None,
        gamma: float = 0.0,
        custom: Custom | None = None,
    ) -> None:
        self.head = Head("AutoModelForSequenceClassification", tuple(labels))
        self.pad_id = pad_token(tokenizer)
        self._tokenizer = tokenizer
        self._texts = TextEncoder(tokenizer, max_length)
        self.max_length = max_length
        self._indices = {label: index for index, label in enumerate(labels)}
        self._smoothing, self._gamma = smoothing, gamma
        self._weights = None if weights is None else torch.tensor(weights)
        self._custom = custom

    @property
    def notes(self) -> dict[str, str]:
        """What the weights came to, for people."""
        if self._weights is None:
            return {}
        return {
            "classWeights": f"{float(self._weights.min()):.4g} to {float(self._weights.max()):.4g}"
        }

    def encode(self, examples: Sequence[Example]) -> Sequence[Classed]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[Labelled]) -> list[Classed]:
        texts = self._texts.encode([example.text for example in examples])
        return [
            Classed(text.ids, self._index(example), text.cut)
            for text, example in zip(texts, examples, strict=True)
        ]

    def _index(self, example: Labelled) -> int:
        if example.label not in self._indices:
            raise data_error(
                "LabelWithoutExamples",
                f"{example.place}: the label is {hidden(example.place, example.label)}, and no "
                "training row has it; add some or remove the row",
            )
        return self._indices[example.label]

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask [examples, longest]; labels [examples]."""
        ids = [item.ids for item in items]
        return {
            "input_ids": padded(ids, self.pad_id),
            "attention_mask": padding_mask(ids),
            "labels": torch.tensor([item.label for item in items]),
        }

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> float:
        labels = batch["labels"]
        if self._weights is None:
            return len(labels)
        return float(self._weights[labels.cpu()].double().sum())

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        outputs, labels = _forward(model, batch), batch["labels"]
        if self._custom:
            return scaled(self._custom(outputs, dict(batch)), len(labels), count)
        weights = None if self._weights is None else self._weights.to(labels.device)
        loss = summed_cross_entropy(outputs.logits, labels, weights, self._smoothing, self._gamma)
        return divided(loss, count)

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        logits = _forward(model, batch).logits
        losses = losses_of_examples(logits[:, None], batch["labels"][:, None])
        names = self.head.labels
        best = logits.argmax(dim=-1).tolist()
        return [
            Prediction(*loss, names[index] if answers else None)
            for loss, index in zip(losses, best, strict=True)
        ]

    def gold(self, example: Any) -> str:
        label: str = example.label
        return label

    def show(self, example: Any) -> str:
        text: str = example.text
        return text

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """Tokens of the first n items as text; the loss counts none of them, but the class."""
        return [
            [(text, False) for text in token_texts(self._tokenizer, items[index].ids)]
            + [(self.head.labels[items[index].label], True)]
            for index in range(min(n, len(items)))
        ]


def _forward(model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
    return model(**{name: value for name, value in batch.items() if name != "labels"})
