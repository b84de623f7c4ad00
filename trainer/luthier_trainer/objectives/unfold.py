"""Conversations that one text can't teach as a whole: an example for each of their answers.

Some templates write an earlier answer otherwise than the last one (Qwen 3 drops its reasoning),
while a model in use is asked for each answer as the last.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from luthier_trainer.data.examples import Chat, Example, Examples, Turn
from luthier_trainer.log import log
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder, apart

# So many conversations of each kind tell how the template writes that kind, among the first rows.
_TRIED, _SEARCHED, _KINDS = 16, 20_000, 32


def unfolded(objective: Any, examples: Examples) -> Examples:
    """With train as the template teaches it, and warnings of what it leaves out. Raises
    TrainerError (ChatTemplateRefused)."""
    encoder = objective.encoder if isinstance(objective, Causal) else None
    if not isinstance(encoder, ChatEncoder):
        return examples
    tried = _tried(examples)
    for name in sorted(set().union(*map(encoder.unwritten, tried))):
        warning = f"the chat template doesn't write {name}: nothing learns from it"
        log(f"warning: data: {warning}")
        examples = replace(examples, warnings=[*examples.warnings, warning])
    if all(map(encoder.learns_whole, tried)):
        return examples
    train = Unfolded(examples.train)
    log(
        f"the chat template writes earlier answers otherwise than the last one: each of the "
        f"{len(train):,} answers is learnt as an example of its own, behind what comes before it"
    )
    return replace(examples, train=train)


class Unfolded(Sequence[Example]):
    """The answers of conversations, one after the other; made when they are asked for."""

    def __init__(self, chats: Sequence[Example]) -> None:
        self._chats = chats
        counts = np.array([len(_chat(chats[row]).answers) for row in range(len(chats))], np.int64)
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        row = int(np.searchsorted(self._ends, at, side="right"))
        behind = int(self._ends[row]) - at
        return apart(_chat(self._chats[row]))[-behind]


def _chat(example: Example) -> Chat:
    assert isinstance(example, Chat)
    return example


def _tried(examples: Examples) -> list[Chat]:
    """A few conversations of each kind."""
    found: dict[tuple[Any, ...], list[Chat]] = {}
    for index in range(min(len(examples.train), _SEARCHED)):
        chat = examples.train[index]
        if isinstance(chat, Chat):
            kind = _kind(chat)
            if kind not in found and len(found) == _KINDS:
                continue
            if len(found.setdefault(kind, [])) < _TRIED:
                found[kind].append(chat)
    return [chat for alike in found.values() for chat in alike]


def _kind(chat: Chat) -> tuple[Any, ...]:
    several = len(chat.answers) > 1
    return several, bool(chat.tools), chat.turns[0].role, frozenset(map(_features, chat.turns))


def _features(turn: Turn) -> tuple[Any, ...]:
    thinks = turn.role == "assistant" and "</" in (turn.content or "")
    return turn.role, tuple(sorted(turn.more)), thinks, turn.learnt
