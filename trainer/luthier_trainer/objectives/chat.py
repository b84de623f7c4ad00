"""Conversations by the model's own chat template.

The loss counts what the assistant says: its turns as the template writes them, from behind
the generation prompt to the token that ends the turn. Where the template marks these spans
({% generation %}) its marks are taken; else they are found by rendering the conversation turn
by turn, and each span is tokenised apart, as when the model is used.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from luthier_trainer.data.examples import Chat
from luthier_trainer.errors import TrainerError, data_error, unsupported
from luthier_trainer.objectives.segments import Segments, plain_ids
from luthier_trainer.objectives.tokens import Tokens, compact, end_token

_MARK = "generation %}"
# Templates write little, such as a new line, behind the token that ends the last turn.
_TAIL = 4


class ChatEncoder:
    """Encodes conversations with a tokenizer of transformers. Raises TrainerError
    (NoChatTemplate, NoEndToken)."""

    def __init__(self, tokenizer: Any, max_length: int, learn_all: bool) -> None:
        if not tokenizer.chat_template:
            raise unsupported(
                "NoChatTemplate",
                "the model's tokenizer has no chat template, so there is no telling how it reads "
                "a conversation: take a model that was made for chat, or write the examples as "
                "prompt and completion",
                "dataset.columns.messages",
            )
        self._tokenizer = tokenizer
        self._segments = Segments(tokenizer)
        self._eos = end_token(tokenizer)
        self._marked = _MARK in str(tokenizer.get_chat_template())
        self._max_length = max_length
        self._learn_all = learn_all

    def encode(self, examples: Sequence[Chat]) -> list[Tokens]:
        """Conversations as tokens, at most max_length each: too long ones lose their start,
        with loss on all turns their end."""
        return [self._fit(self._encode(example)) for example in examples]

    def _encode(self, example: Chat) -> Tokens:
        messages = [{"role": turn.role, "content": turn.content} for turn in example.turns]
        if self._learn_all:
            whole, asked = plain_ids(
                self._tokenizer,
                [self._render(messages, example), self._render(messages[:-1], example, True)],
            )
            ended = whole if self._eos in whole[-_TAIL:] else [*whole, self._eos]
            return compact([], ended, True, (), asked)
        ids, learnt, asked = (self._by_marks if self._marked else self._by_turns)(messages, example)
        *earlier, (begin, end) = learnt
        prompt, answer, rest = ids[:begin], ids[begin:end], ids[end:]
        if self._eos not in answer:
            # The template marks no end token, or has none.
            answer += (
                [*rest[: rest.index(self._eos)], self._eos] if self._eos in rest else [self._eos]
            )
        return compact(prompt, answer, False, earlier, None if asked == prompt else asked)

    def _by_marks(self, messages: Any, example: Chat) -> tuple[list[int], list[Any], list[int]]:
        found = self._apply(
            messages, example, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = list(found["input_ids"]), found["assistant_masks"]
        spans = []
        for counted, group in groupby(range(len(ids)), key=lambda index: bool(mask[index])):
            places = list(group)
            if counted:
                spans.append((places[0], places[-1] + 1))
        if not spans:
            raise self._refused(example, "its generation marks enclose no token")
        asked = self._render(messages[:-1], example, generate=True)
        return ids, spans, plain_ids(self._tokenizer, [asked])[0]

    def _by_turns(self, messages: Any, example: Chat) -> tuple[list[int], list[Any], list[int]]:
        """Segments of text in turn: what is given, what the assistant says, …"""
        whole = self._render(messages, example)
        segments, end = [], 0
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:number], example, generate=True)
            through = self._render(messages[: number + 1], example)
            if not (
                len(before) >= end
                and before.startswith(whole[:end])
                and through.startswith(before)
                and whole.startswith(through)
                and len(through) > len(before)
            ):
                raise self._refused(
                    example,
                    "it writes a turn otherwise once others follow, so what the assistant says "
                    "can't be told apart; set dataset.lossOn to All, or mark the assistant's turns "
                    "in the template with {% generation %}",
                )
            segments += [whole[end : len(before)], whole[len(before) : len(through)]]
            end = len(through)
        if not segments:
            raise self._refused(example, "the conversation has no turn of the assistant")
        ids: list[int] = []
        spans = []
        for index, part in enumerate(self._segments.encode([[*segments, whole[end:]]])[0]):
            if index % 2 and index < len(segments):
                spans.append((len(ids), len(ids) + len(part)))
            ids += part
        return ids, spans, ids[: spans[-1][0]]

    def _render(self, messages: Any, example: Chat, generate: bool = False) -> str:
        text: str = self._apply(messages, example, tokenize=False, add_generation_prompt=generate)
        return text

    def _apply(self, messages: Any, example: Chat, **options: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(messages, **options)
        except Exception as error:
            raise self._refused(example, f"{type(error).__name__}: {str(error)[:300]}") from error

    def _refused(self, example: Chat, problem: str) -> TrainerError:
        roles = ", ".join(turn.role for turn in example.turns[:12])
        return data_error(
            "ChatTemplateRefused",
            f"{example.place}: the model's chat template can't be used for the turns {roles}: "
            f"{problem}",
            "dataset.columns.messages",
        )

    def _fit(self, found: Tokens) -> Tokens:
        excess = len(found) - self._max_length
        if excess <= 0:
            return found
        prompt, completion, asked = found.prompt, found.completion, found.asked
        if self._learn_all:
            prompt = prompt[: self._max_length]
            completion = completion[: self._max_length - len(prompt)]
            return compact(prompt, completion, True, (), asked, excess)
        # The prompt's first token (begin of text) stays.
        cut = min(excess, max(len(prompt) - 1, 0))
        prompt = [*prompt[:1], *prompt[1 + cut :]]
        spans = [(max(begin - cut, 1), max(end - cut, 1)) for begin, end in found.learnt]
        if asked is not None and len(asked) > self._max_length:
            asked = [*asked[:1], *asked[1 - self._max_length :]]
        completion = completion[: self._max_length - len(prompt)]
        return compact(prompt, completion, False, spans, asked, excess)
