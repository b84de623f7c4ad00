"""Encoder-decoder models that turn one text into another: completions."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.data.examples import Completion, Example
from luthier_trainer.objectives.collate import padded, padding_mask
from luthier_trainer.objectives.custom import Custom, count_labels, scaled
from luthier_trainer.objectives.forward import is_prompted, on_device, unwrapped
from luthier_trainer.objectives.generate import generate
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import divided, loss_at, losses_of_examples
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.objective import AnswerKind, Batch, Head, Prediction
from luthier_trainer.objectives.scoring import label_completions
from luthier_trainer.objectives.tokens import (
    IGNORED,
    end_token,
    mixed_forms,
    pad_token,
    token_texts,
)


@dataclass(frozen=True, slots=True)
class Sides:
    """Token ids of what the encoder reads and the decoder learns, each with the special tokens
    of its tokenizer, and how many tokens were cut off."""

    source: array[int]
    target: array[int]
    cut: int

    @property
    def learnt_count(self) -> int:
        return len(self.target)

    def __len__(self) -> int:
        return len(self.source) + len(self.target)

    @property
    def numbers(self) -> array[int]:
        return joined([self.cut], self.source, self.target)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> Sides:
        [cut], [source, target] = parted(numbers, 1, 2)
        return cls(source, target, cut)


class Seq2Seq:
    """The prompt goes to the encoder, the completion is what the decoder learns, its end token
    too; each has training.maxLength for itself and loses its end beyond it.

    `labels`: the completion of each label; then the answer is the likeliest label, else
    generated text. A custom loss gets the outputs, and the batch with `labels` (-100 at padding).
    """

    head = Head("AutoModelForSeq2SeqLM")
    item = Sides

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        *,
        labels: Mapping[str, str] | None = None,
        max_new_tokens: int = 128,
        smoothing: float = 0.0,
        custom: Custom | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._eos = end_token(tokenizer)
        self.max_length = max_length
        self._max_new_tokens = max_new_tokens
        self._smoothing = smoothing
        self._custom = custom
        self._pad_id = pad_token(tokenizer)
        self.answer_kind: AnswerKind = "label" if labels else "text"
        self._labels: dict[str, list[int]] = {}
        if labels:
            ids = [ids[:-1] for ids in self._targets(list(labels.values()))]
            self._labels = label_completions(dict(zip(labels, ids, strict=True)), self._eos)

    def encode(self, examples: Sequence[Example]) -> Sequence[Sides]:
        return encoded(examples, self._encode)

    def _encode(self, examples: Sequence[Completion]) -> list[Sides]:
        for each in examples:
            if not isinstance(each, Completion):
                raise mixed_forms(each.place, "a conversation among rows of text")
        sources: list[list[int]] = self._tokenizer([each.prompt for each in examples])["input_ids"]
        targets = self._targets([each.completion for each in examples])
        return [self._fit(s, t) for s, t in zip(sources, targets, strict=True)]

    def _targets(self, texts: list[str]) -> list[list[int]]:
        found = self._tokenizer(text_target=texts)["input_ids"]
        return [ids if ids[-1:] == [self._eos] else [*ids, self._eos] for ids in found]

    def _fit(self, source: list[int], target: list[int]) -> Sides:
        most = self.max_length
        whole = len(source) + len(target)
        if len(source) > most:  # what ends a text stays
            ends = source[-1:] if source[-1] in self._tokenizer.all_special_ids else []
            source = source[: most - len(ends)] + ends
        target = target[:most]
        return Sides(array("i", source), array("i", target), whole - len(source) - len(target))

    def collate(self, items: Sequence[Any]) -> Batch:
        """input_ids, attention_mask [examples, longest source]; labels [examples, longest
        target], IGNORED at padding."""
        sources = [item.source for item in items]
        return {
            "input_ids": padded(sources, self._pad_id),
            "attention_mask": padding_mask(sources),
            "labels": padded([item.target for item in items], IGNORED),
        }

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum() + (batch["labels"] != IGNORED).sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return count_labels(batch["labels"], self._custom)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        labels = batch["labels"]
        if self._custom:
            outputs = _forward(model, batch, labels)
            return scaled(self._custom(outputs, dict(batch)), len(labels), count)
        wanted = labels != IGNORED
        total = loss_at(
            model,
            lambda: _forward(model, batch, labels),
            lambda outputs: outputs[wanted],
            labels[wanted],
            self._smoothing,
        )
        return divided(total, count)

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        outputs = _forward(model, batch, batch["labels"])
        losses = losses_of_examples(outputs.logits, batch["labels"])
        given: list[Any] = [None] * len(items)
        if answers and self._labels:
            names = list(self._labels)
            best = self._score(model, batch, outputs).argmax(dim=1)
            given = [names[index] for index in best.tolist()]
        elif answers:
            prompts = [list(item.source) for item in items]
            given = generate(model, self._tokenizer, prompts, self._max_new_tokens, self._pad_id)
        return [Prediction(*loss, answer) for loss, answer in zip(losses, given, strict=True)]

    def _score(self, model: nn.Module, batch: Batch, outputs: Any) -> Tensor:
        """Log-likelihood of each label: fp32 [examples, labels]. The source is read once."""
        inputs: dict[str, Any] = dict(batch)
        if not is_prompted(model):  # virtual tokens would be missing
            inputs["input_ids"] = None
            inputs["encoder_outputs"] = (outputs.encoder_last_hidden_state,)
        count = len(batch["labels"])
        scores = []
        for ids in self._labels.values():
            labels = torch.tensor([ids] * count, device=batch["labels"].device)
            logp = _forward(model, inputs, labels).logits.float().log_softmax(-1)
            scores.append(logp.gather(2, labels[..., None]).sum(dim=(1, 2)))
        return torch.stack(scores, dim=1)

    def gold(self, example: Any) -> str:
        answer: str = example.label if self._labels else example.completion
        return answer

    def show(self, example: Any) -> str:
        prompt: str = example.prompt
        return prompt

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """Tokens of the first n items as text, and whether the loss counts them."""
        return [
            [(text, False) for text in token_texts(self._tokenizer, items[index].source)]
            + [(text, True) for text in token_texts(self._tokenizer, items[index].target)]
            for index in range(min(n, len(items)))
        ]


def _forward(model: Any, inputs: Mapping[str, Any], labels: Tensor) -> Any:
    """Outputs whose logits [examples, targets, vocabulary] predict `labels`."""
    base = unwrapped(model)
    forward = {name: value for name, value in inputs.items() if name != "labels"}
    given = base.prepare_decoder_input_ids_from_labels(labels=labels)
    return model(**forward, decoder_input_ids=given, use_cache=False)
