"""Texts as an encoder reads them: with the special tokens of the tokenizer."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from luthier_trainer.objectives.tokens import pad_token


class Text(NamedTuple):
    """Token ids, and how many were cut off."""

    ids: array[int]
    cut: int


class TextEncoder:
    """At most max_length tokens a text; those that are too long lose words at the end, never
    the special tokens."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._nothing = [pad_token(tokenizer)]

    def encode(self, texts: Sequence[str]) -> list[Text]:
        found: list[list[int]] = self._tokenizer(list(texts))["input_ids"] if texts else []
        long = [index for index, ids in enumerate(found) if len(ids) > self._max_length]
        whole = [len(ids) for ids in found]
        if long:
            cut = self._tokenizer(
                [texts[index] for index in long],
                truncation=True,
                max_length=self._max_length,
            )["input_ids"]
            for index, ids in zip(long, cut, strict=True):
                found[index] = ids
        # A text without any token still is a row.
        return [
            Text(array("i", ids or self._nothing), length - len(ids))
            for ids, length in zip(found, whole, strict=True)
        ]
