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
from luthier_trainer.models.heads import Head
from luthier_trainer.objectives.classloss import summed_cross_entropy
from luthier_trainer.objectives.custom import Custom, scaled
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import divided, losses_of_examples
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.objective import AnswerKind, Batch, Prediction
from luthier_trainer.objectives.reading import Reading
from luthier_trainer.objectives.textheads import Shown, first, forward, shown, text_batch
from luthier_trainer.objectives.texts import TextEncoder
from luthier_trainer.objectives.tokens import pad_token


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
        self.reading = Reading(answer="label")
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
        return weight_notes(self._weights)

    def encode(self, examples: Sequence[Example]) -> Sequence[Classed]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[Labelled]) -> list[Classed]:
        texts = self._texts.encode([example.text for example in examples])
        return [
            Classed(text.ids, index_of(example.label, self._indices, example.place), text.cut)
            for text, example in zip(texts, examples, strict=True)
        ]

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask [examples, longest]; labels [examples]."""
        return text_batch(items, self.pad_id, torch.tensor([item.label for item in items]))

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> float:
        labels = batch["labels"]
        if self._weights is None:
            return len(labels)
        return float(self._weights[labels.cpu()].double().sum())

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        outputs, labels = forward(model, batch), batch["labels"]
        if self._custom:
            return scaled(self._custom(outputs, dict(batch)), len(labels), count)
        weights = None if self._weights is None else self._weights.to(labels.device)
        loss = summed_cross_entropy(outputs.logits, labels, weights, self._smoothing, self._gamma)
        return divided(loss, count)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """[examples, classes], in fp32."""
        logits: Tensor = forward(model, batch).logits
        return logits.float()

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        logits = self.logits(model, batch)
        losses = losses_of_examples(logits[:, None], batch["labels"][:, None])
        if not answers:
            return [Prediction(*loss) for loss in losses]
        names = self.head.labels
        best = logits.argmax(dim=-1).tolist()
        sure = (logits / self.reading.temperature).softmax(-1).max(-1).values.tolist()
        return [
            Prediction(*loss, names[index], confidence=confidence)
            for loss, index, confidence in zip(losses, best, sure, strict=True)
        ]

    def gold(self, example: Any) -> str:
        label: str = example.label
        return label

    def show(self, example: Any) -> str:
        text: str = example.text
        return text

    def mask_view(self, items: Sequence[Any], n: int) -> Shown:
        """Tokens of the first n items as text; the loss counts none of them, but the class."""
        some = first(items, n)
        return shown(self._tokenizer, some, [self.head.labels[item.label] for item in some])


def index_of(label: str, indices: Mapping[str, int], place: str) -> int:
    """Raises TrainerError (LabelWithoutExamples)."""
    if label not in indices:
        raise data_error(
            "LabelWithoutExamples",
            f"{place}: the label is {hidden(place, label)}, and no training row has it; add some "
            "or remove the row",
        )
    return indices[label]


def weight_notes(weights: Tensor | None) -> dict[str, str]:
    if weights is None:
        return {}
    return {"classWeights": f"{float(weights.min()):.4g} to {float(weights.max()):.4g}"}
