"""Base against tuned, with the same code, on the same rows, by the same weights: the
adapter is switched off for the base."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.collate import collate
from luthier_trainer.errors import data_error
from luthier_trainer.loss import Targets, predict_targets, summed_loss
from luthier_trainer.metrics import accuracy, macro_f1, perplexity
from luthier_trainer.tokens import IGNORED, Tokens


@dataclass(frozen=True)
class Evaluator:
    """How to run a model over rows. `labels`: the completion of each label as token ids;
    empty unless the task is classification."""

    batch_size: int
    pad_id: int
    sparse: bool
    autocast_dtype: torch.dtype | None
    labels: dict[str, list[int]]

    def loss(self, model: nn.Module, rows: Sequence[Tokens]) -> float:
        """Mean loss per target."""
        return self._run(model, rows, score=False)[0]

    def metrics(
        self, model: nn.Module, rows: Sequence[Tokens], expected: Sequence[str]
    ) -> tuple[dict[str, float], list[str]]:
        """(metrics, predicted labels); accuracy and f1 and predictions need `labels`."""
        loss, predicted = self._run(model, rows, score=bool(self.labels))
        metrics = {"loss": loss, "perplexity": perplexity(loss)}
        if self.labels:
            metrics["accuracy"] = accuracy(expected, predicted)
            metrics["f1"] = macro_f1(expected, predicted)
        return metrics, predicted

    def _run(
        self, model: nn.Module, rows: Sequence[Tokens], score: bool
    ) -> tuple[float, list[str]]:
        names = list(self.labels)
        predicted = [""] * len(rows)
        total, count = 0.0, 0
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        with torch.inference_mode(), self._autocast(device):
            for indices in _by_length(rows, self.batch_size):
                batch = [rows[i] for i in indices]
                inputs = {k: v.to(device) for k, v in collate(batch, self.pad_id).items()}
                cached = score and any(len(ids) > 1 for ids in self.labels.values())
                targets = predict_targets(model, inputs, self.sparse, use_cache=cached)
                total += float(summed_loss(targets.logits, targets.ids))
                count += int((targets.ids != IGNORED).sum())
                if score:
                    scores = score_labels(model, batch, targets, list(self.labels.values()))
                    for index, best in zip(indices, scores.argmax(dim=1).tolist(), strict=True):
                        predicted[index] = names[best]
        model.train(was_training)
        return total / max(count, 1), predicted

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        enabled = self.autocast_dtype is not None
        return torch.autocast(device.type, dtype=self.autocast_dtype, enabled=enabled)


def score_labels(
    model: nn.Module, batch: Sequence[Tokens], targets: Targets, labels: Sequence[list[int]]
) -> Tensor:
    """Log-likelihood of each label after each prompt: fp32 [examples, labels].

    `targets` is the forward of the examples with their own completions. The logits at a
    prompt's last token give every label's first token; labels of several tokens need
    one more short forward for each distinct beginning, on the forward's cache, in which
    the example's own completion is masked.
    """
    device = targets.logits.device
    lengths = torch.tensor([len(tokens.prompt) for tokens in batch], device=device)
    columns = torch.searchsorted(targets.positions, lengths - 1)
    first = targets.logits[torch.arange(len(batch), device=device), columns].float()
    logp = first.log_softmax(dim=-1)
    scores = torch.stack([logp[:, ids[0]] for ids in labels], dim=1)
    for beginning in sorted({tuple(ids[:-1]) for ids in labels if len(ids) > 1}):
        following = _continue(model, beginning, lengths, targets).log_softmax(dim=-1)
        for number, ids in enumerate(labels):
            if tuple(ids[:-1]) == beginning:
                for position, token in enumerate(ids[1:]):
                    scores[:, number] += following[:, position, token]
    return scores


def _continue(
    model: nn.Module, beginning: tuple[int, ...], lengths: Tensor, targets: Targets
) -> Tensor:
    """Logits after each token of `beginning` put behind each prompt: [examples, tokens,
    vocabulary], fp32."""
    device, count = lengths.device, len(lengths)
    # The forward appends to its cache: each beginning gets a copy.
    cache = copy.deepcopy(targets.output.past_key_values)
    past = torch.arange(cache.get_seq_length(), device=device)
    mask = torch.cat(
        [past[None] < lengths[:, None], torch.ones(count, len(beginning), device=device).bool()],
        dim=1,
    )
    output = model(
        input_ids=torch.tensor([beginning] * count, device=device),
        attention_mask=mask.long(),
        position_ids=lengths[:, None] + torch.arange(len(beginning), device=device),
        cache=cache,
        use_cache=True,
    )
    logits: Tensor = output.logits.float()
    return logits


def label_completions(completions: dict[str, list[int]], eos: int) -> dict[str, list[int]]:
    """Token ids to score for each label.

    The end token is scored too only where one label begins like another: else the
    shorter of the two would always win. Raises TrainerError (SameLabel).
    """
    by_ids: dict[tuple[int, ...], str] = {}
    for label, ids in completions.items():
        if tuple(ids) in by_ids:
            raise data_error(
                "SameLabel",
                f"the labels {by_ids[tuple(ids)]!r} and {label!r} are the same tokens to this "
                "model; rename one",
                "dataset.template",
            )
        by_ids[tuple(ids)] = label
    nested = any(
        a != b and b[: len(a)] == a for a in completions.values() for b in completions.values()
    )
    return {label: [*ids, eos] if nested else ids for label, ids in completions.items()}


def generate(model: Any, tokenizer: Any, prompt: list[int], max_new_tokens: int) -> str:
    """Greedy answer to one prompt."""
    device = next(model.parameters()).device
    ids = torch.tensor([prompt], device=device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=tokenizer.eos_token_id,
        )
    text: str = tokenizer.decode(output[0][len(prompt) :], skip_special_tokens=True)
    return text


def chosen(metrics: dict[str, float], names: Sequence[str]) -> dict[str, float]:
    """The metrics that were asked for, rounded for people; never NaN or infinite (JSON)."""
    return {name: round(metrics[name], 6) for name in names if math.isfinite(metrics[name])}


def _by_length(rows: Sequence[Tokens], batch_size: int) -> Iterator[list[int]]:
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
