"""Models with a head for the tags of words."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from torch import Tensor, nn

from luthier_trainer.data.examples import Example, Tagged
from luthier_trainer.data.row import hidden
from luthier_trainer.errors import data_error, unsupported
from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.custom import Custom, count_labels, of_heads
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import losses_of_examples
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.objective import AnswerKind, Batch, Head, Prediction
from luthier_trainer.objectives.tokens import IGNORED, pad_token, token_texts

_OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class TaggedIds:
    """Token ids of a text. `places`: the first token of each of its `words` in turn, -1 where
    it has none or was cut off; `tags`: the indices of their tags; `cut`: tokens cut off."""

    ids: array[int]
    places: array[int]
    tags: array[int]
    cut: int

    @property
    def targets(self) -> array[int]:
        """As `ids`: the tag at the first token of each word, else IGNORED."""
        targets = array("i", [IGNORED]) * len(self.ids)
        for place, tag in zip(self.places, self.tags, strict=True):
            if place >= 0:
                targets[place] = tag
        return targets

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def numbers(self) -> array[int]:
        return joined([self.cut], self.ids, self.places, self.tags)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> TaggedIds:
        [cut], [ids, places, tags] = parted(numbers, 1, 3)
        return cls(ids, places, tags, cut)


class Tagger:
    """Tags in BIO: one for each word, carried by its first token. The answer has a tag for
    each word: O for those beyond training.maxLength.

    Words are read as one text with spaces between them, so that each is tokenised as it is
    within a text. A custom loss gets the outputs (logits [examples, tokens, tags]) and the
    batch with `labels` (-100 where no word begins).
    """

    answer_kind: AnswerKind = "tags"
    item = TaggedIds

    def __init__(
        self,
        tokenizer: Any,
        kinds: Sequence[str],
        max_length: int,
        *,
        order: Callable[[Sequence[str]], tuple[str, ...]] = tuple,
        smoothing: float = 0.0,
        custom: Custom | None = None,
    ) -> None:
        """`order`: of the tags, as the model's own head has them."""
        if not tokenizer.is_fast:
            raise unsupported(
                "SlowTokenizer",
                "the model's tokenizer can't tell which token belongs to which word: take a model "
                "with a tokenizer.json",
                "model.uri",
            )
        tags = [f"{mark}-{kind}" for kind in kinds for mark in ("B", "I")]
        self.head = Head("AutoModelForTokenClassification", order([_OUTSIDE, *tags]))
        self._tokenizer = tokenizer
        self._pad_id = pad_token(tokenizer)
        self.max_length = max_length
        self._indices = {tag: index for index, tag in enumerate(self.head.labels)}
        self._smoothing = smoothing
        self._custom = custom

    def encode(self, examples: Sequence[Example]) -> Sequence[TaggedIds]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[Tagged]) -> list[TaggedIds]:
        if not examples:
            return []
        texts = [" ".join(example.tokens) for example in examples]
        found = self._tokenizer(texts, return_offsets_mapping=True)
        return [
            self._item(example, text, found["input_ids"][row], found["offset_mapping"][row])
            for row, (example, text) in enumerate(zip(examples, texts, strict=True))
        ]

    def _item(
        self, example: Tagged, text: str, ids: list[int], offsets: list[tuple[int, int]]
    ) -> TaggedIds:
        whole = len(ids)
        if whole > self.max_length:  # once more, so that what ends a text stays
            found = self._tokenizer(
                text, truncation=True, max_length=self.max_length, return_offsets_mapping=True
            )
            ids, offsets = found["input_ids"], found["offset_mapping"]
        # Where each word begins in the text.
        starts = list(accumulate((len(word) + 1 for word in example.tokens), initial=0))[:-1]
        places = array("i", [-1]) * len(starts)
        for token, (begin, end) in enumerate(offsets):
            if end <= begin:  # a special token
                continue
            # By its last character: a token may hold the space before its word.
            word = bisect_right(starts, end - 1) - 1
            inside = end - 1 < starts[word] + len(example.tokens[word])
            if inside and places[word] < 0:
                places[word] = token
        tags = array("i", [self._index(example, tag) for tag in example.tags])
        return TaggedIds(array("i", ids or [self._pad_id]), places, tags, whole - len(ids))

    def _index(self, example: Tagged, tag: str) -> int:
        if tag not in self._indices:
            raise data_error(
                "LabelWithoutExamples",
                f"{example.place}: a tag is {hidden(example.place, tag)}, and no training row has "
                "it; add some or remove the row",
            )
        return self._indices[tag]

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask, labels [examples, longest]."""
        ids = [item.ids for item in items]
        return {
            "input_ids": padded(ids, self._pad_id),
            "attention_mask": padding_mask(ids),
            "labels": padded([item.targets for item in items], IGNORED),
        }

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return count_labels(batch["labels"], self._custom)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        outputs = _forward(model, batch)
        return of_heads(outputs, batch, count, self._smoothing, self._custom)

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        logits = _forward(model, batch).logits
        losses = losses_of_examples(logits, batch["labels"])
        best = logits.argmax(dim=-1).tolist()
        return [
            Prediction(*loss, self._answer(item, row) if answers else None)
            for item, loss, row in zip(items, losses, best, strict=True)
        ]

    def _answer(self, item: TaggedIds, best: list[int]) -> list[str]:
        tags = self.head.labels
        return [tags[best[place]] if place >= 0 else _OUTSIDE for place in item.places]

    def gold(self, example: Any) -> list[str]:
        return list(example.tags)

    def show(self, example: Any) -> str:
        return " ".join(example.tokens)

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """Tokens of the first n items as text, and whether the loss counts their tags."""
        return [
            [
                (text, target != IGNORED)
                for text, target in zip(
                    token_texts(self._tokenizer, items[index].ids),
                    items[index].targets,
                    strict=True,
                )
            ]
            for index in range(min(n, len(items)))
        ]


def _forward(model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
    outputs = model(**{name: value for name, value in batch.items() if name != "labels"})
    # Virtual tokens of the method have logits too.
    outputs.logits = outputs.logits[:, -batch["labels"].shape[1] :]
    return outputs
