"""A loaded package as a model of transformers, for evaluation/measure.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Config:
    """What the objectives ask a configuration for."""

    max_position_embeddings: int
    model_type: str = "genai"
    is_encoder_decoder: bool = False

    def get_text_config(self) -> "_Config":
        return self


class Generates(Protocol):
    """What a package that is loaded brings (runner.GenaiRunner)."""

    vocabulary: int
    context: int
    ends: list[int]

    def rows_at_once(self, tokens: int) -> int: ...

    def logits(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]: ...

    def continued(self, rows: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]: ...


class GenaiModel(nn.Module):
    """A runner as a model of transformers. See contract.Runner.as_model."""

    def __init__(self, runner: Generates) -> None:
        super().__init__()
        self._runner = runner
        self.config = _Config(runner.context)
        self.generation_config = SimpleNamespace(eos_token_id=runner.ends)
        self.device_holder = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor | None = None,
        cache: "Read | None" = None,
        logits_to_keep: Tensor | int = 0,
        use_cache: bool = False,
    ) -> SimpleNamespace:
        """Logits at the positions `logits_to_keep` of `input_ids` (0: at all), where
        `attention_mask` covers those of the `cache` too. Positions are those that the mask
        leaves, which `position_ids` say again."""
        del position_ids, use_cache
        before = cache.ids if cache else input_ids[:, :0]
        ids = torch.cat([before, input_ids], dim=1)
        rows = _rows(ids, attention_mask)
        width = input_ids.shape[1]
        kept = logits_to_keep if isinstance(logits_to_keep, Tensor) else torch.arange(width)
        begins = attention_mask[:, : before.shape[1]].sum(dim=1)
        found = torch.zeros(len(rows), len(kept), self._runner.vocabulary)
        most = self._runner.rows_at_once(ids.shape[1])
        for start in range(0, len(rows), most):
            logits = torch.from_numpy(self._runner.logits(rows[start : start + most]))
            places = begins[start : start + most, None] + kept
            # What lies beyond these rows is padding, whose logits nobody looks at.
            places = places.clamp(max=logits.shape[1] - 1)
            found[start : start + len(logits)] = logits[torch.arange(len(logits))[:, None], places]
        return SimpleNamespace(logits=found, cache=Read(ids))

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        max_new_tokens: int,
        eos_token_id: Sequence[int],
        pad_token_id: int,
        **_: Any,
    ) -> Tensor:
        """[rows, prompt + answer], cut at the first of `eos_token_id`, then `pad_token_id`."""
        rows = _rows(input_ids, attention_mask)
        answers = [
            _ended(ids, set(eos_token_id)) for ids in self._runner.continued(rows, max_new_tokens)
        ]
        width = max(map(len, answers))
        padded = [[*ids, *[pad_token_id] * (width - len(ids))] for ids in answers]
        new = torch.tensor(padded, dtype=torch.int64).reshape(len(rows), width)
        return torch.cat([input_ids, new], dim=1)


@dataclass(frozen=True)
class Read:
    """What a forward read: int64 [rows, tokens]. The objectives continue it as a cache of keys
    and values; a generator takes no such thing for several rows, so it is read again."""

    ids: Tensor

    def get_seq_length(self) -> int:
        return self.ids.shape[1]


def _rows(ids: Tensor, mask: Tensor) -> list[list[int]]:
    return [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True)]


def _ended(ids: Sequence[int], ends: set[int]) -> list[int]:
    """Up to the first end, which is kept."""
    found = next((index for index, token in enumerate(ids) if token in ends), len(ids) - 1)
    return list(ids[: found + 1])
