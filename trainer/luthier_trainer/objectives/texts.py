"""Texts as an encoder reads them: with the special tokens of the tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from luthier_trainer.objectives.tokens import pad_token


class TextEncoder:
    """At most max_length tokens a text; those that are too long lose words at the end, never
    the special tokens."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._nothing = [pad_token(tokenizer)]
        self.truncated = 0

    def encode(self, texts: Sequence[str]) -> list[array[int]]:
        found: list[list[int]] = self._tokenizer(list(texts))["input_ids"] if texts else []
        long = [index for index, ids in enumerate(found) if len(ids) > self._max_length]
        if long:
            self.truncated += len(long)
            cut = self._tokenizer(
                [texts[index] for index in long],
                truncation=True,
                max_length=self._max_length,
            )["input_ids"]
            for index, ids in zip(long, cut, strict=True):
                found[index] = ids
        # A text without any token still is a row.
        return [array("i", ids or self._nothing) for ids in found]
