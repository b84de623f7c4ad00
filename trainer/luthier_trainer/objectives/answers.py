"""Answers as token ids: two to a prompt, or one."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, overload

from luthier_trainer.data.examples import Answers
from luthier_trainer.objectives.items import counts
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.tokens import Tokens, compact


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """`start`: log-probabilities of the answers, chosen first, by the model that the training
    begins with, where these are kept. `unrelated`: the prompt with the answer of another row."""

    chosen: Tokens | None
    rejected: Tokens | None
    start: tuple[float, ...] = ()
    unrelated: Tokens | None = None

    @property
    def given(self) -> tuple[Tokens, ...]:
        return tuple(each for each in (self.chosen, self.rejected) if each is not None)

    @property
    def question(self) -> list[int]:
        return self.given[0].question

    @property
    def cut(self) -> int:
        return sum(each.cut for each in self.given)

    @property
    def turns_cut(self) -> int:
        return max(each.turns_cut for each in self.given)

    @property
    def learnt_count(self) -> int:
        return sum(each.learnt_count for each in self.given)

    def __len__(self) -> int:
        return sum(map(len, self.given))

    @property
    def numbers(self) -> array[int]:
        """Of what is kept on disk: the answers themselves."""
        sides = [each.numbers if each else () for each in (self.chosen, self.rejected)]
        return joined([], *sides)

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> AnswerTokens:
        _, sides = parted(numbers, 0, 2)
        chosen, rejected = (Tokens.of_numbers(side) if side else None for side in sides)
        return cls(chosen, rejected)


def with_one_prompt(item: AnswerTokens) -> AnswerTokens:
    """Where an answer is too long its prompt was cut: the other one follows on the same."""
    one, other = item.chosen, item.rejected
    if one is None or other is None or not (one.cut or other.cut):
        return item
    if one.learnt or other.learnt:  # of several turns each
        return item
    prompt = min(one.prompt, other.prompt, key=len)
    return AnswerTokens(_behind(prompt, one), _behind(prompt, other))


def _behind(prompt: Sequence[int], answer: Tokens) -> Tokens:
    more = len(answer.prompt) - len(prompt)
    return replace(answer, prompt=prompt, cut=answer.cut + more)


def of_examples(
    examples: Sequence[Answers], encode: Callable[[Sequence[Any]], Sequence[Tokens]]
) -> list[AnswerTokens]:
    """`encode`: of completions, or of conversations, each of which is one row."""
    tokens = iter(encode([answer for example in examples for answer in example.given]))
    return [with_one_prompt(_item(example, tokens)) for example in examples]


def _item(example: Answers, tokens: Iterator[Tokens]) -> AnswerTokens:
    chosen = next(tokens) if example.chosen else None
    return AnswerTokens(chosen, next(tokens) if example.rejected else None)


class InContext(Sequence[Any]):
    """Items with what isn't their own: what the start makes of them, by row, and for KTO the answer
    of the row behind each, which is another one's whatever batch it comes into."""

    def __init__(
        self,
        items: Sequence[Any],
        *,
        start: Sequence[Sequence[float]] | None = None,
        unrelated: int = 0,
    ) -> None:
        """`unrelated`: tokens that a prompt has with the answer of another row at most; 0: there is
        none."""
        self.counts = counts(items)
        self.lengths = array("i", self.counts["length"].tolist())
        self._items, self._start, self._unrelated = items, start, unrelated

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> AnswerTokens: ...
    @overload
    def __getitem__(self, index: slice) -> list[AnswerTokens]: ...
    def __getitem__(self, index: int | slice) -> AnswerTokens | list[AnswerTokens]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        item = cast(AnswerTokens, self._items[at])
        start = tuple(self._start[at]) if self._start is not None else ()
        other = self._other(item, at) if self._unrelated else None
        return replace(item, start=start, unrelated=other)

    def _other(self, item: AnswerTokens, at: int) -> Tokens:
        behind = self._items[(at + 1) % len(self)].given
        prompt, answer = item.given[0].prompt, behind[at % len(behind)].completion
        return compact(prompt, answer[: max(1, self._unrelated - len(prompt))], False)
