"""Models with a head for a number of a text."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.data.examples import Example, Valued
from luthier_trainer.models.heads import Head
from luthier_trainer.objectives.custom import Custom, scaled
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import divided
from luthier_trainer.objectives.numbers import halves, joined, parted, whole
from luthier_trainer.objectives.objective import AnswerKind, Batch, Prediction
from luthier_trainer.objectives.reading import Reading
from luthier_trainer.objectives.textheads import Shown, first, forward, shown, text_batch
from luthier_trainer.objectives.texts import TextEncoder
from luthier_trainer.objectives.tokens import pad_token


@dataclass(frozen=True, slots=True)
class Numbered:
    """Token ids of a text, its number, and how many tokens were cut off."""

    ids: array[int]
    number: float
    cut: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def numbers(self) -> array[int]:
        return joined([*halves(self.number), self.cut], self.ids)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> Numbered:
        (begin, end, cut), [ids] = parted(numbers, 3, 1)
        return cls(ids, whole(begin, end), cut)


class Regressor:
    """The answer is the head's output, on the scale of the data (reading.py).

    What is learnt are the numbers less the mean of train, in its deviations, so that a learning
    rate suits data of any scale. The loss, of the training and as it is measured, is the mean
    square in these deviations. A custom loss gets the outputs (logits [examples, 1]) and the batch
    with `labels` [examples], as they are learnt.
    """

    answer_kind: AnswerKind = "number"
    item = Numbered

    def __init__(
        self,
        tokenizer: Any,
        name: str,
        scale: tuple[float, float],
        max_length: int,
        *,
        custom: Custom | None = None,
    ) -> None:
        """`name`: of the number. `scale`: mean and deviation of those of train."""
        self.head = Head("AutoModelForSequenceClassification", (name,), "regression")
        self._mean, self._deviation = scale
        self.reading = Reading(answer="number", mean=scale[0], deviation=scale[1])
        self.pad_id = pad_token(tokenizer)
        self._tokenizer = tokenizer
        self._texts = TextEncoder(tokenizer, max_length)
        self.max_length = max_length
        self._custom = custom

    @property
    def notes(self) -> dict[str, str]:
        """The scale, for people."""
        return {"scale": f"{self._mean:.4g} ± {self._deviation:.4g}"}

    def encode(self, examples: Sequence[Example]) -> Sequence[Numbered]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[Valued]) -> list[Numbered]:
        texts = self._texts.encode([example.text for example in examples])
        return [
            Numbered(text.ids, example.label, text.cut)
            for text, example in zip(texts, examples, strict=True)
        ]

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask [examples, longest]; labels [examples], fp32."""
        labels = torch.tensor([(item.number - self._mean) / self._deviation for item in items])
        return text_batch(items, self.pad_id, labels)

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return len(batch["labels"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        outputs, labels = forward(model, batch), batch["labels"]
        if self._custom:
            return scaled(self._custom(outputs, dict(batch)), len(labels), count)
        return divided((outputs.logits[:, 0].float() - labels).square().sum(), count)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """[examples, 1], in fp32."""
        logits: Tensor = forward(model, batch).logits
        return logits.float()

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        reading, deviation = self.reading, self._deviation
        found = self.logits(model, batch)[:, 0].tolist()
        values = [each * reading.deviation + reading.mean for each in found]
        return [
            Prediction(((value - item.number) / deviation) ** 2, 1, value if answers else None)
            for value, item in zip(values, items, strict=True)
        ]

    def gold(self, example: Any) -> float:
        number: float = example.label
        return number

    def show(self, example: Any) -> str:
        text: str = example.text
        return text

    def mask_view(self, items: Sequence[Any], n: int) -> Shown:
        """Tokens of the first n items as text; the loss counts none of them, but the number."""
        some = first(items, n)
        return shown(self._tokenizer, some, [f"{item.number:g}" for item in some])
