"""Segments of one text, tokenised apart, with the tokens that continue the text.

Tokenizers of SentencePiece's kind (Llama-2, Mistral, Phi-3) put a blank before whatever they
are given: "red" behind "Colour:" would become " red", and " red" get a second blank. What
stands inside a text is therefore tokenised behind something short that takes its place, whose
tokens are then cut off. The text before itself would do less well: its last token may
reach over the border, and a long prompt would be tokenised twice.
"""

from collections.abc import Iterator, Sequence
from typing import Any

# It merges with few texts; a new line with fewer, but some tokenizers drop it.
_WORD, _LINE = ":", "\n"


def plain_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without begin or end tokens."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


class Segments:
    """Tokenises texts that are given in segments, with a tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._prepends = _prepends(tokenizer)
        # Some put a blank behind special tokens too, some take one away.
        added = tokenizer.get_added_vocab() if self._prepends else ()
        self._added = tuple(sorted(added, key=len, reverse=True))

    def encode(self, texts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Ids of each text's segments, the first of which begins the text."""
        flat = [segment for text in texts for segment in text]
        ids = plain_ids(self._tokenizer, flat)
        if self._prepends:
            before = [each for text in texts for each in self._before(text)]
            inside = [index for index, each in enumerate(before) if each]
            found = self._behind([before[i] for i in inside], [flat[i] for i in inside])
            for index, continued in zip(inside, found, strict=True):
                ids[index] = ids[index] if continued is None else continued
        each_ids = iter(ids)
        return [[next(each_ids) for _ in text] for text in texts]

    def _before(self, segments: Sequence[str]) -> Iterator[str]:
        """What takes the place of the text before each segment; nothing at a text's start."""
        before = ""
        for segment in segments:
            words = before.rstrip()
            ends = words.endswith(self._added)
            word = next(filter(words.endswith, self._added)) if ends else _WORD
            yield word + before[len(words) :] if before else ""
            before += segment

    def _behind(self, before: Sequence[str], texts: Sequence[str]) -> list[list[int] | None]:
        """As the function; where a token reached over the border, once more behind a line."""
        found = _behind(self._tokenizer, before, texts)
        left = [text for text, ids in zip(texts, found, strict=True) if ids is None]
        again = iter(_behind(self._tokenizer, [_LINE] * len(left), left))
        return [next(again) if ids is None else ids for ids in found]


def _prepends(tokenizer: Any) -> bool:
    """Whether a text gets other tokens at its start than inside another text."""
    alone = plain_ids(tokenizer, ["a"])[0]
    found = _behind(tokenizer, [_LINE, _WORD], ["a", "a"])
    return next((ids != alone for ids in found if ids), False)


def _behind(tokenizer: Any, before: Sequence[str], texts: Sequence[str]) -> list[list[int] | None]:
    """Ids of each text behind what is put before it; None where a token belongs to both, or
    the tokenizer leaves out what is before."""
    places = list(dict.fromkeys(before))
    starts = dict(zip(places, plain_ids(tokenizer, places), strict=True))
    both = plain_ids(tokenizer, [b + text for b, text in zip(before, texts, strict=True)])
    found: list[list[int] | None] = []
    for each, ids in zip(before, both, strict=True):
        start = starts[each]
        follows = start and ids[: len(start)] == start
        found.append(ids[len(start) :] if follows else None)
    return found
