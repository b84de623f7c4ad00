"""Language models that learn which of two answers is better, or whether one is desirable."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from luthier_api.preference import Preference
from luthier_trainer.data.examples import Chat, Example
from luthier_trainer.objectives.answers import AnswerTokens, of_examples
from luthier_trainer.objectives.causal import Causal, token_view, turn_text
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.collate import TARGET_POSITIONS, collate
from luthier_trainer.objectives.forward import on_device, unwrapped
from luthier_trainer.objectives.generate import generate
from luthier_trainer.objectives.items import encoded
from luthier_trainer.objectives.loss import by_row, divided, log_probabilities, target_logits
from luthier_trainer.objectives.objective import AnswerKind, Batch, Prediction
from luthier_trainer.objectives.preferenceloss import (
    Scored,
    kto_losses,
    needs_start,
    pair_losses,
    rewards,
)
from luthier_trainer.objectives.start import Start, unlearnt
from luthier_trainer.objectives.tokens import IGNORED, Tokens, pad_token
from luthier_trainer.objectives.varlen import attend_as_loaded

_DESIRABLE, _START, _MOVED = "desirable", "start", "moved"
_UNRELATED, _UNRELATED_START = "unrelated_", "unrelated_start"
# Of both models, and what is made of them, at a time: 64 MiB each in fp32.
_LOGITS = 1 << 24


class Scores(NamedTuple):
    """What a model makes of a row's answers; NaN where there is none. Log-probabilities of whole
    answers, their tokens, and rewards; the KL divergence from the start, summed over `kl_tokens`;
    and the log-probability of the answer of another row."""

    chosen: float = math.nan
    rejected: float = math.nan
    chosen_tokens: float = math.nan
    rejected_tokens: float = math.nan
    chosen_reward: float = math.nan
    rejected_reward: float = math.nan
    kl: float = math.nan
    kl_tokens: float = math.nan
    unrelated: float = math.nan

    @property
    def start(self) -> list[float]:
        """Of those that the start made: AnswerTokens.start."""
        given = (self.chosen, self.rejected, self.unrelated)
        return [each for each in given if not math.isnan(each)]


class Preferences:
    """Answers of one prompt are rows of a batch, the chosen ones first. The loss sums over rows of
    the data (of KTO: over answers).

    `start`: the model that the training begins with, where it can be asked beside the one that is
    trained; else the items have what it said (InContext). KTO's measure of how far the model has
    moved is of all batches of an optimiser step, in all processes; measured, of a batch.
    """

    head = Causal.head
    answer_kind: AnswerKind = "preference"
    item = AnswerTokens

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        max_length: int,
        settings: Preference,
        *,
        max_new_tokens: int = 128,
        kl: bool = False,
    ) -> None:
        """`kl`: whether that is measured, which takes another forward pass of each answer."""
        self._tokenizer = tokenizer
        self.encoder = encoder
        self.max_length = max_length
        self.settings = settings
        self.start: Start | None = None
        self.kto = settings.objective == "kto"
        self.kl = kl
        self._max_new_tokens = max_new_tokens
        self._pad_id = pad_token(tokenizer)

    def encode(self, examples: Sequence[Example]) -> Sequence[AnswerTokens]:
        return encoded(examples, lambda some: of_examples(some, self.encoder.encode))

    def collate(self, items: Sequence[Any]) -> Batch:
        """As collate.collate, of all answers; desirable: bool [answers]; start: fp32 [answers],
        where the items know; unrelated_*: the same of prompts with another row's answer."""
        sides = [[it.chosen for it in items], [it.rejected for it in items]]
        rows = [each for side in sides for each in side if each is not None]
        batch = collate(rows, self._pad_id)
        counts = [sum(each is not None for each in side) for side in sides]
        batch[_DESIRABLE] = torch.tensor([True] * counts[0] + [False] * counts[1])
        if items[0].unrelated is not None:
            other = collate([item.unrelated for item in items], self._pad_id)
            batch |= {f"{_UNRELATED}{name}": value for name, value in other.items()}
        if items[0].start:
            known = [list(item.start) for item in items]
            if len(known[0]) > len(items[0].given):
                batch[_UNRELATED_START] = torch.tensor([each.pop() for each in known])
            by_side = ("chosen", 0), ("rejected", -1)
            batch[_START] = torch.tensor(
                [
                    each[place]
                    for side, place in by_side
                    for each, item in zip(known, items, strict=True)
                    if getattr(item, side) is not None
                ]
            )
        return batch

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        answers = len(batch[_DESIRABLE])
        return answers if self.kto else answers // 2

    def prepare(
        self, model: nn.Module, batches: Sequence[Batch], add: Callable[[Tensor], None]
    ) -> list[Batch]:
        if not self.kto:
            return list(batches)
        device = next(model.parameters()).device
        moved = torch.zeros(2, device=device)
        for batch in batches:
            gains = self._unrelated_gains(model, on_device(model, batch))
            moved += torch.stack([gains.sum(), gains.new_tensor(len(gains))])
        add(moved)
        mean = (moved[0] / moved[1].clamp(min=1)).clamp(min=0)
        return [{**batch, _MOVED: mean} for batch in batches]

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: float | Tensor) -> Tensor:
        moved = batch.get(_MOVED)
        if self.kto and moved is None:
            moved = self._unrelated_gains(model, batch).mean().clamp(min=0)
        return divided(self._losses(self._scored(model, batch), batch, moved).sum(), count)

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        batch = on_device(model, self.collate(items))
        found, moved, unrelated = self._scored(model, batch), None, None
        if self.kto:
            unrelated = self._unrelated(model, batch)
            moved = self._gains(unrelated, batch).mean().clamp(min=0)
        losses = self._losses(found, batch, moved).tolist()
        worth = rewards(self.settings, found).tolist()
        given: list[Any] = [None] * len(items)
        if answers:
            prompts = [item.question for item in items]
            given = generate(model, self._tokenizer, prompts, self._max_new_tokens, self._pad_id)
            if isinstance(self.encoder, ChatEncoder):
                given = list(map(self.encoder.visible, given))
        kl = self._divergences(model, items) if self.kl and self.start else None
        predictions = []
        rows = _rows(items)
        for number, (item, answer) in enumerate(zip(items, given, strict=True)):
            own = rows[number]
            scores = Scores()
            for side, row in own.items():
                values = {
                    side: float(found.model[row]),
                    f"{side}_tokens": float(found.tokens[row]),
                    f"{side}_reward": worth[row],
                }
                scores = scores._replace(**values)
            if unrelated is not None:
                scores = scores._replace(unrelated=float(unrelated[number]))
            if kl:
                scores = scores._replace(kl=kl[number], kl_tokens=float(item.learnt_count))
            of_answers = [losses[row] for row in own.values()] if self.kto else [losses[number]]
            predictions.append(Prediction(sum(of_answers), len(of_answers), answer, scores))
        return predictions

    def of_start(
        self, model: nn.Module, items: Sequence[Any], autocast: torch.dtype | None
    ) -> list[list[float]]:
        """AnswerTokens.start of each item, by a model that is the start."""
        with unlearnt(model, autocast):
            attend_as_loaded(model)
            batch = on_device(model, self.collate(items))
            found = log_probabilities(model, _texts(batch)).tolist()
            others = self._unrelated(model, batch).tolist() if self.kto else None
        return [
            [*(found[row] for row in own.values()), *([others[number]] if others else [])]
            for number, own in enumerate(_rows(items))
        ]

    def _losses(self, found: Scored, batch: Mapping[str, Tensor], moved: Tensor | None) -> Tensor:
        if self.kto:
            assert moved is not None
            return kto_losses(self.settings, found, batch[_DESIRABLE], moved)
        count = len(found.model) // 2
        return pair_losses(self.settings, _part(found, 0, count), _part(found, count, 2 * count))

    def _scored(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Scored:
        texts, start = _texts(batch), batch.get(_START)
        if not needs_start(self.settings):
            start = None
        elif start is None:
            start = self._by_start(texts)
        attend_as_loaded(model)
        tokens = (texts["labels"][:, 1:] != IGNORED).sum(dim=1).float()
        return Scored(log_probabilities(model, texts), start, tokens)

    def _by_start(self, texts: Mapping[str, Tensor]) -> Tensor:
        assert self.start, "nothing tells what the start says"
        with self.start.asked() as base:
            attend_as_loaded(base)
            return log_probabilities(base, texts)

    def _unrelated(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Log-probabilities of answers to other prompts: [rows]."""
        with unlearnt(model):
            attend_as_loaded(model)
            return log_probabilities(model, _texts(batch, _UNRELATED))

    def _gains(self, unrelated: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        start = batch.get(_UNRELATED_START)
        return unrelated - (self._by_start(_texts(batch, _UNRELATED)) if start is None else start)

    def _unrelated_gains(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self._gains(self._unrelated(model, batch), batch)

    def _divergences(self, model: nn.Module, items: Sequence[AnswerTokens]) -> list[float]:
        """How far what the model says next is from what the start does, summed over the tokens of
        each item's answers."""
        assert self.start
        sums = [0.0] * len(items)
        for part in self._parts(model, items):
            texts = on_device(model, collate([answer for _, answer in part], self._pad_id))
            ours = target_logits(model, texts).float().log_softmax(dim=-1)
            with self.start.asked() as base:
                theirs = target_logits(base, texts).float().log_softmax(dim=-1)
            found = by_row((ours.exp() * (ours - theirs)).sum(dim=-1), texts)
            for (number, _), value in zip(part, found.tolist(), strict=True):
                sums[number] += value
        return sums

    def _parts(
        self, model: nn.Module, items: Sequence[AnswerTokens]
    ) -> Iterator[list[tuple[int, Tokens]]]:
        """All answers with their items' numbers, as many at a time as their logits may be large."""
        most = _LOGITS // unwrapped(model).config.get_text_config().vocab_size
        part: list[tuple[int, Tokens]] = []
        for number, item in enumerate(items):
            for answer in item.given:
                if part and sum(it.learnt_count for _, it in part) + answer.learnt_count > most:
                    yield part
                    part = []
                part.append((number, answer))
        yield part

    def gold(self, example: Any) -> str:
        """The chosen answer; nothing where there is none."""
        chosen = example.chosen
        if chosen is None:
            return ""
        gold: str = self.encoder.gold(chosen) if isinstance(chosen, Chat) else chosen.completion
        return gold

    def show(self, example: Any) -> str:
        answer = example.any
        if not isinstance(answer, Chat):
            return str(answer.prompt)
        asked = answer.turns[: answer.answers[0]]
        return "\n".join(f"{turn.role}: {turn_text(turn)}" for turn in asked)

    def mask_view(self, items: Sequence[Any], n: int) -> list[list[tuple[str, bool]]]:
        """Tokens of the first n items as text, each answer behind its prompt, and whether they
        count."""
        return [
            [shown for answer in items[i].given for shown in token_view(self._tokenizer, answer)]
            for i in range(min(n, len(items)))
        ]


def _texts(batch: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "labels", TARGET_POSITIONS)
    return {name: batch[f"{prefix}{name}"] for name in names}


def _part(found: Scored, begin: int, end: int) -> Scored:
    start = None if found.start is None else found.start[begin:end]
    return Scored(found.model[begin:end], start, found.tokens[begin:end])


def _rows(items: Sequence[AnswerTokens]) -> list[dict[str, int]]:
    """Where the answers of each item stand in their batch."""
    rows: list[dict[str, int]] = [{} for _ in items]
    number = 0
    for side in ("chosen", "rejected"):
        for item, own in zip(items, rows, strict=True):
            if getattr(item, side) is not None:
                own[side] = number
                number += 1
    return rows
