"""Language models that continue a text: completions and conversations."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from luthier_trainer.data.examples import Chat, Completion, Example, Turn
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.collate import collate, count_targets, joined
from luthier_trainer.objectives.custom import Custom, scaled
from luthier_trainer.objectives.forward import on_device
from luthier_trainer.objectives.generate import generate
from luthier_trainer.objectives.items import Encode, encoded
from luthier_trainer.objectives.loss import (
    Targets,
    causal_loss,
    losses_alone,
    losses_of_examples,
    predict_targets,
    takes_logits_to_keep,
)
from luthier_trainer.objectives.objective import AnswerKind, Batch, Head, Prediction
from luthier_trainer.objectives.scoring import score_labels, uses_cache
from luthier_trainer.objectives.tokens import IGNORED, Tokens, compact, pad_token, token_texts
from luthier_trainer.objectives.varlen import PLACES, attend_as_loaded, attend_by_sequence


class Causal:
    """Learns completions (Encoder) or conversations (ChatEncoder).

    `labels`: ids of each label's completion (scoring.label_completions); then the answer is
    the likeliest label, else generated text. A custom loss gets the outputs with the logits of
    all positions, and the batch with `labels` (-100 where nothing is learnt).
    """

    head = Head("AutoModelForCausalLM")
    item = Tokens

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        max_length: int,
        *,
        labels: Mapping[str, list[int]] | None = None,
        max_new_tokens: int = 128,
        smoothing: float = 0.0,
        custom: Custom | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self.encoder = encoder
        self.max_length = max_length
        self._labels = dict(labels or {})
        self._max_new_tokens = max_new_tokens
        self._smoothing = smoothing
        self._custom = custom
        self._joins = False
        self._pad_id = pad_token(tokenizer)
        self.answer_kind: AnswerKind = "label" if labels else "text"

    def encode(self, examples: Sequence[Example]) -> Sequence[Tokens]:
        return encoded(examples, cast(Encode, self.encoder.encode))

    def without_padding(self) -> "Causal":
        """One whose batches to learn from are one row of examples (collate.joined): for models
        that keep them apart (isolation.py)."""
        other = copy.copy(self)
        other._joins = True
        return other

    def collate(self, items: Sequence[Any]) -> Batch:
        """Items; where they are joined, rows of several items each, too (packing.pack)."""
        if not self._joins:
            return collate(items, self._pad_id)
        if not isinstance(items[0], Tokens):
            items = [item for row in items for item in row]
        return joined(items)

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        mask = batch.get("attention_mask")
        return batch["input_ids"].numel() if mask is None else int(mask.sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return len(batch["labels"]) if self._custom else count_targets(batch["labels"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        if self._custom:
            outputs = predict_targets(model, batch, False, use_cache=False).output
            outputs.logits = outputs.logits[:, -batch["labels"].shape[1] :]
            return scaled(self._custom(outputs, dict(batch)), len(batch["labels"]), count)
        if PLACES in batch:
            attend_by_sequence(model)
        else:
            attend_as_loaded(model)
        return causal_loss(model, batch, takes_logits_to_keep(model), count, self._smoothing)

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        attend_as_loaded(model)
        scores = answers and bool(self._labels)
        # Where the question isn't how the example begins, it needs a forward of its own.
        apart = scores and any(item.asked is not None for item in items)
        given: list[Any] = [None] * len(items)
        if not scores:
            losses = self._losses(model, items)
        else:
            found = self._forward(model, items, scored=not apart)
            losses = losses_of_examples(found.logits, found.ids)
            names = list(self._labels)
            if apart:
                # A forward predicts nothing at its last token, so one stands behind the question.
                items = [compact(item.question, [self._pad_id], False) for item in items]
                found = self._forward(model, items, scored=True)
            best = score_labels(model, items, found, list(self._labels.values())).argmax(dim=1)
            given = [names[index] for index in best.tolist()]
        if answers and not scores:
            prompts = [item.question for item in items]
            given = generate(model, self._tokenizer, prompts, self._max_new_tokens, self._pad_id)
            if isinstance(self.encoder, ChatEncoder):
                given = list(map(self.encoder.visible, given))
        return [Prediction(*loss, answer) for loss, answer in zip(losses, given, strict=True)]

    def _losses(self, model: nn.Module, items: Sequence[Tokens]) -> list[tuple[float, int]]:
        losses = losses_alone(model, on_device(model, collate(items, self._pad_id)))
        if losses is not None:
            return losses
        found = self._forward(model, items, scored=False)
        return losses_of_examples(found.logits, found.ids)

    def _forward(self, model: nn.Module, items: Sequence[Tokens], scored: bool) -> Targets:
        """`scored`: as score_labels needs it."""
        batch = on_device(model, collate(items, self._pad_id))
        several = any(len(ids) > 1 for ids in self._labels.values())
        ends = torch.tensor([len(item.prompt) - 1 for item in items])
        return predict_targets(
            model,
            batch,
            takes_logits_to_keep(model),
            also=ends.to(batch["labels"].device) if scored else None,
            use_cache=scored and several and uses_cache(model),
        )

    def gold(self, example: Any) -> str:
        if isinstance(example, Chat):
            gold: str = self.encoder.gold(example)
            return gold
        answer: str = example.label if self._labels else example.completion
        return answer

    def show(self, example: Any) -> str:
        if isinstance(example, Completion):
            return example.prompt
        return "\n".join(f"{turn.role}: {turn_text(turn)}" for turn in example.turns[:-1])

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """Tokens of the first n items as text, and whether the loss counts them."""
        return [token_view(self._tokenizer, items[i]) for i in range(min(n, len(items)))]


def turn_text(turn: Turn) -> str:
    calls = turn.more.get("tool_calls")
    called = [json.dumps(calls, ensure_ascii=False)] if calls else []
    return "\n".join([*filter(None, [turn.content]), *called])


def token_view(tokenizer: Any, item: Tokens) -> list[tuple[str, bool]]:
    counted = [False, *(target != IGNORED for target in item.targets[1:])]
    return list(zip(token_texts(tokenizer, item.ids), counted, strict=False))
