"""Greedy search: the likeliest token each time, as transformers' own does it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# (the tokens so far, the logits after them) → the logits that count: fp32 [rows, vocabulary]
Adjust = Callable[[Tensor, Tensor], Tensor]


def search(
    ids: Tensor,
    logits: Tensor,
    step: Callable[[Tensor], Tensor],
    adjust: Adjust,
    new_tokens: int,
    ends: Sequence[int],
    pad_id: int,
) -> Tensor:
    """[rows, tokens + new]: `ids` and what follows, until each row has ended.

    `logits` [rows, vocabulary] are those after `ids`; `step` takes the new token of each row
    [rows] and returns the logits after it. Rows that have ended are filled up with `pad_id`.
    """
    ended = torch.zeros(len(ids), dtype=torch.bool)
    stops = torch.tensor(list(ends), dtype=torch.int64)
    for number in range(new_tokens):
        chosen = adjust(ids, logits).argmax(dim=-1)
        chosen = torch.where(ended, torch.full_like(chosen, pad_id), chosen)
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        ended |= torch.isin(chosen, stops)
        if bool(ended.all()) or number == new_tokens - 1:
            break
        logits = step(chosen)
    return ids


def adjustments(config: Any, begin: int, longest: int) -> Adjust:
    """What a model's generation_config asks of every text: first and last tokens, and tokens
    that never are one. `begin`, `longest`: tokens before the first new one, and in all."""
    from transformers.generation import logits_process as process

    found = process.LogitsProcessorList()
    if bad := getattr(config, "bad_words_ids", None):
        found.append(process.NoBadWordsLogitsProcessor(bad, config.eos_token_id))
    if (first := getattr(config, "forced_bos_token_id", None)) is not None:
        found.append(process.ForcedBOSTokenLogitsProcessor(first))
    if (last := getattr(config, "forced_eos_token_id", None)) is not None:
        found.append(process.ForcedEOSTokenLogitsProcessor(longest, last))
    if never := getattr(config, "suppress_tokens", None):
        found.append(process.SuppressTokensLogitsProcessor(never))
    if not_first := getattr(config, "begin_suppress_tokens", None):
        begin += begin == 1 and first is not None
        found.append(process.SuppressTokensAtBeginLogitsProcessor(not_first, begin))
    adjust: Adjust = found
    return adjust
