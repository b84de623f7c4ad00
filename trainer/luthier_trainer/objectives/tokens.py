"""From words to the token ids of a language model.

Prompt and completion are tokenised apart (segments), so that the prompt's tokens when the
model is used are those it was trained on.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from luthier_api.result import ExitCode
from luthier_trainer.data.examples import Completion
from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.objectives.numbers import joined, parted
from luthier_trainer.objectives.segments import Segments

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of one example; `completion` is the answer with its end token.

    `learn_prompt`: whether the loss counts the prompt's tokens too. `learnt`: spans [begin,
    end) of the prompt that it counts anyway: earlier answers of a conversation. `asked`: what
    the model is asked, where that isn't the prompt. `cut`: tokens lost to training.maxLength,
    `turns_cut`: turns of a conversation among them. `continues`: whether it goes on with the
    text of the row before it, whose last token it begins with.
    """

    prompt: Sequence[int]
    completion: Sequence[int]
    learn_prompt: bool
    learnt: tuple[tuple[int, int], ...] = ()
    asked: Sequence[int] | None = None
    cut: int = 0
    turns_cut: int = 0
    continues: bool = False

    @property
    def ids(self) -> array[int]:
        return array("i", self.prompt) + array("i", self.completion)

    @property
    def targets(self) -> array[int]:
        """As `ids`, IGNORED where the loss doesn't count."""
        targets = self.ids
        if not self.learn_prompt:
            targets[: len(self.prompt)] = array("i", [IGNORED]) * len(self.prompt)
            for begin, end in self.learnt:
                targets[begin:end] = array("i", self.prompt[begin:end])
        return targets

    @property
    def learnt_count(self) -> int:
        """How many tokens the loss counts; the first of a text follows on nothing."""
        spans = [(0, len(self.prompt))] if self.learn_prompt else self.learnt
        earlier = sum(end - begin - (begin == 0) for begin, end in spans)
        return max(earlier, 0) + len(self.completion) - (not self.prompt)

    @property
    def question(self) -> list[int]:
        """The ids that the model continues when it is asked."""
        return list(self.prompt if self.asked is None else self.asked)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def numbers(self) -> array[int]:
        asked = self.asked is not None
        single = [self.learn_prompt, self.continues, self.cut, self.turns_cut, asked]
        spans = [place for span in self.learnt for place in span]
        return joined(single, spans, self.prompt, self.completion, self.asked or ())

    @classmethod
    def of_numbers(cls, numbers: array[int]) -> Tokens:
        single, (spans, prompt, completion, question) = parted(numbers, 5, 4)
        learn_prompt, continues, cut, turns_cut, asked = single
        return cls(
            prompt,
            completion,
            bool(learn_prompt),
            tuple(zip(spans[::2], spans[1::2], strict=True)),
            question if asked else None,
            cut,
            turns_cut,
            bool(continues),
        )


def compact(
    prompt: Sequence[int],
    completion: Sequence[int],
    learn_prompt: bool,
    learnt: Sequence[tuple[int, int]] = (),
    asked: Sequence[int] | None = None,
    cut: int = 0,
    turns_cut: int = 0,
    continues: bool = False,
) -> Tokens:
    """Tokens in 4 bytes each, in memory and between processes."""
    spans = tuple((begin, end) for begin, end in learnt if begin < end)
    question = None if asked is None else array("i", asked)
    ids = array("i", prompt), array("i", completion)
    return Tokens(*ids, learn_prompt, spans, question, cut, turns_cut, continues)


def continued(ids: Sequence[int], max_length: int) -> list[Tokens]:
    """What a text has beyond its first max_length tokens, as rows of at most so many. Each is
    given the last token of the row before, which is learnt there, and learns the others: so
    every token of the text is learnt once, and follows on something."""
    fresh = max_length - 1
    return [
        compact(ids[at - 1 : at], ids[at : at + fresh], False, continues=True)
        for at in range(max_length, len(ids), fresh)
    ]


def end_token(tokenizer: Any) -> int:
    """Raises TrainerError (NoEndToken)."""
    if tokenizer.eos_token_id is None:
        raise TrainerError(
            ExitCode.UNSUPPORTED,
            "NoEndToken",
            "the model's tokenizer names no eos_token: the model could not learn where an "
            "answer ends; set it in tokenizer_config.json",
            "model.uri",
        )
    eos: int = tokenizer.eos_token_id
    return eos


def pad_token(tokenizer: Any) -> int:
    """What batches are padded with; masks, never this id, tell what is padding."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return 0


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text: decoded alone, some lose the blank before them."""
    alone = [tokenizer.decode([token]) for token in ids]
    pairs = [tokenizer.decode(list(pair)) for pair in pairwise(ids)]
    behind = [
        both.removeprefix(before) if both.startswith(before) else text
        for before, text, both in zip(alone, alone[1:], pairs, strict=False)
    ]
    return [*alone[:1], *behind]


def begin_tokens(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before every text, each token once: mostly its begin-of-text token,
    whether it names it so or not."""
    return list(dict.fromkeys(tokens_around(tokenizer)[0]))


def tokens_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before every text and behind it."""
    alone = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(alone) + 1 if alone else 0):
        end = start + len(alone)
        if whole[start:end] == alone:
            return whole[:start], whole[end:]
    return [token for token in whole[:1] if token == tokenizer.bos_token_id], []


def mixed_forms(place: str, what: str) -> TrainerError:
    return data_error("MixedForms", f"{place}: {what}; write all rows in one form")


class Encoder:
    """Encodes completions with a tokenizer of transformers; each ends with its end token.

    `longest_label`: tokens of the longest one, where the model is asked for labels: there is
    room for it behind each question. `chunk`: texts that are too long become several rows, which
    is for those that are learnt as a whole (learn_prompt).
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        learn_prompt: bool,
        longest_label: int = 0,
        *,
        chunk: bool = False,
    ) -> None:
        self._eos = end_token(tokenizer)
        self._segments = Segments(tokenizer)
        self._start = begin_tokens(tokenizer)
        self._max_length = max_length
        self._learn_prompt = learn_prompt
        self._longest_label = longest_label
        self._chunk = chunk

    def answers(self, examples: Sequence[Completion]) -> list[list[int]]:
        """Ids of the completions, each as it follows its prompt, without the end token."""
        return [completion for _, completion in self._encode(examples)]

    def encode(self, examples: Sequence[Completion]) -> list[Tokens]:
        """Examples as tokens, at most max_length each.

        A prompt that is too long loses its start, so that what stands right before the
        answer stays; with loss on the whole text, the text loses its end. The question loses
        its start in either case.
        """
        return [
            row
            for prompt, ids in self._encode(examples)
            for row in self._rows(prompt, ids if ids[-1:] == [self._eos] else [*ids, self._eos])
        ]

    def _rows(self, prompt: list[int], completion: list[int]) -> list[Tokens]:
        first = self.fit(prompt, completion)
        if not (self._chunk and first.cut):
            return [first]
        whole = array("i", [*self._begun(prompt), *completion])
        return [replace(first, cut=0), *continued(whole, self._max_length)]

    def _begun(self, prompt: list[int]) -> list[int]:
        return prompt if prompt[: len(self._start)] == self._start else self._start + prompt

    def _encode(self, examples: Sequence[Completion]) -> list[list[list[int]]]:
        for each in examples:
            if not isinstance(each, Completion):
                raise mixed_forms(each.place, "a conversation among rows of text")
        return self._segments.encode([(each.prompt, each.completion) for each in examples])

    def fit(self, prompt: list[int], completion: list[int]) -> Tokens:
        prompt = self._begun(prompt)
        if not prompt and not self._learn_prompt:
            # Without any prompt the first token of the answer has nothing to follow from.
            prompt = [self._eos]
        # A long answer must not push out all of the question.
        room = max(self._longest_label, min(len(completion), self._max_length // 2))
        asked = self._ending(prompt, room) or [self._eos]
        whole, kept = len(prompt) + len(completion), prompt
        if whole > self._max_length:
            kept = (
                prompt[: self._max_length]
                if self._learn_prompt
                else self._ending(prompt, len(completion))
            )
        completion = completion[: self._max_length - len(kept)]
        return compact(
            kept,
            completion,
            self._learn_prompt,
            asked=None if asked == kept else asked,
            cut=whole - len(kept) - len(completion),
        )

    def _ending(self, prompt: list[int], room: int) -> list[int]:
        """The prompt without as much of its start (but for the begin token) as leaves `room`."""
        excess = len(prompt) + room - self._max_length
        if excess <= 0:
            return prompt
        kept = max(0, len(prompt) - len(self._start) - excess)
        return self._start + prompt[len(prompt) - kept :] or [self._eos]


def learns_prompt(loss_on: str, task: str, from_template: bool) -> bool:
    """Whether the loss counts the prompt. Auto: for a template of the task generation."""
    return task == "generation" and from_template if loss_on == "Auto" else loss_on == "All"
