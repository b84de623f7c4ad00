"""Conversations by the model's own chat template.

The loss counts what the assistant says, each turn as the model is asked for it: behind the
generation prompt, up to the token that ends the turn. Where the template marks these spans
({% generation %}) its marks are taken. Answers are tokenised apart, as when the model is used.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

from luthier_trainer.data.examples import Chat, Turn
from luthier_trainer.errors import TrainerError, data_error, unsupported
from luthier_trainer.log import log
from luthier_trainer.objectives.chattemplate import ChatTemplate, RefusedError
from luthier_trainer.objectives.conversation import Answer, Conversations
from luthier_trainer.objectives.segments import Segments, plain_ids
from luthier_trainer.objectives.tokens import Tokens, compact, end_token, mixed_forms
from luthier_trainer.objectives.visible import Visible

_MARK = "generation %}"
# Templates write little, such as a new line, behind the token that ends the last turn.
_TAIL = 4
_SYSTEM = ("system", "developer")
# Tokens that are left of a question at least.
_SOME = 8


class ChatEncoder:
    """Encodes conversations with a tokenizer of transformers. `now`: the moment that a template
    sees which writes the date. Raises TrainerError (NoChatTemplate, NoEndToken)."""

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        learn_all: bool,
        now: datetime | None = None,
        param: str = "dataset.columns.messages",
    ) -> None:
        if not tokenizer.chat_template:
            raise unsupported(
                "NoChatTemplate",
                "the model's tokenizer has no chat template, so there is no telling how it reads "
                "a conversation: take a model that was made for chat, set a FineTuneJob's "
                "dataset.chatTemplate, or write the examples as prompt and completion",
                param,
            )
        self._tokenizer = tokenizer
        self._param = param
        self._segments = Segments(tokenizer)
        self._eos = end_token(tokenizer)
        self._template = ChatTemplate(tokenizer, now)
        self._conversations = Conversations(self._template, tokenizer.eos_token)
        self._visible = Visible(self._template, tokenizer)
        self._marked = _MARK in self._template.text
        self._max_length = max_length
        self._learn_all = learn_all
        self.dated = self._template.dated
        # What a turn's text ends with where the end token is another.
        self._ends = tuple(tokenizer.get_added_vocab())

    def encode(self, examples: Sequence[Chat]) -> list[Tokens]:
        """Conversations as tokens, at most max_length each. Too long ones lose whole turns, the
        oldest first, never what the system says; what is left then loses the start of its longest
        text, or the answer its end."""
        return [self._told(example, self._fit) for example in examples]

    def visible(self, text: str) -> str:
        """What a user of the chat sees of an answer that a model gave."""
        return self._visible.of(text)

    def gold(self, example: Chat) -> str:
        """What a user is to see of the last answer; calls of tools as the template writes them."""
        turn = example.turns[-1]
        if turn.content is not None and "tool_calls" not in turn.more:
            return self._visible.without_reasoning(turn.content)
        said = self._told(example, lambda chat: self._last(chat).said)
        [ids] = plain_ids(self._tokenizer, [said])
        return self.visible(self._tokenizer.decode(ids, skip_special_tokens=True))

    def unwritten(self, example: Chat) -> set[str]:
        """What the template leaves out of a conversation."""
        last = example.turns[-1]
        rest = {key: value for key, value in last.more.items() if key != "reasoning_content"}
        thoughtless = Turn(last.role, last.content, rest)
        without = {
            "tools": replace(example, tools=()),
            "reasoning_content": replace(example, turns=(*example.turns[:-1], thoughtless)),
        }

        def written(chat: Chat) -> Any:
            whole = self._learn_all or self._marked
            return self._template.write(chat.turns, chat.tools) if whole else self._last(chat)

        whole = self._told(example, written)
        changed = {name: chat for name, chat in without.items() if chat != example}
        return {name for name, chat in changed.items() if self._told(chat, written) == whole}

    def learns_whole(self, example: Chat) -> bool:
        """Whether one text can teach all of its answers, each as the model is asked for it."""
        if self._marked or self._learn_all or len(example.answers) < 2:
            return True
        whole: bool = self._told(
            example,
            lambda chat: len(self._spans(chat, self._last(chat).asked)) == len(chat.answers) - 1,
        )
        return whole

    def _told(self, example: Chat, function: Any) -> Any:
        if not isinstance(example, Chat):
            raise mixed_forms(example.place, "a row of text among conversations")
        try:
            return function(example)
        except RefusedError as error:
            if error.__cause__:
                log(f"data: {example.place}: the chat template: {error.__cause__}")
            raise self._refused(example, str(error)) from error

    def _fit(self, example: Chat) -> Tokens:
        found = self._encode(example)
        if len(found) <= self._max_length:
            return found
        head = next((i for i, t in enumerate(example.turns) if t.role not in _SYSTEM), 0)
        questions = [i for i, turn in enumerate(example.turns) if i > head and turn.role == "user"]
        shorter = {head: found}

        def length(start: int) -> int:
            turns = (*example.turns[:head], *example.turns[start:])
            shorter[start] = self._encode(Chat(turns, example.place, example.tools))
            return len(shorter[start])

        # Fewer turns are fewer tokens.
        at = bisect_left(questions, True, key=lambda start: length(start) <= self._max_length)
        start = questions[min(at, len(questions) - 1)] if questions else head
        if start not in shorter:
            length(start)
        kept = shorter[start]
        if len(kept) > self._max_length:
            turns = (*example.turns[:head], *example.turns[start:])
            kept = self._cut(kept, Chat(turns, example.place, example.tools))
        return compact(
            kept.prompt,
            kept.completion,
            kept.learn_prompt,
            kept.learnt,
            kept.asked,
            len(found) - len(kept),
            start - head,
        )

    def _encode(self, example: Chat) -> Tokens:
        if self._learn_all:
            return self._whole(example)
        if self._marked:
            return self._by_marks(example)
        answer = self._last(example)
        spans = self._spans(example, answer.asked)
        cuts = [0, *(place for span in spans for place in span), len(answer.asked)]
        parts = [answer.asked[a:b] for a, b in pairwise(cuts)]
        *asked, said = self._segments.encode([[*parts, answer.said]])[0]
        ids: list[int] = []
        learnt = []
        for index, part in enumerate(asked):
            if index % 2:
                learnt.append((len(ids), len(ids) + len(part)))
            ids += part
        if self._eos not in said:
            said = [*said, self._eos]
        # Without any prompt the first token of the answer has nothing to follow on.
        return compact(ids or [self._eos], said, False, learnt)

    def _whole(self, example: Chat) -> Tokens:
        written = self._template.write(example.turns, example.tools)
        whole, asked = plain_ids(self._tokenizer, [written, self._conversations.asked(example)])
        ended = whole if self._eos in whole[-_TAIL:] else [*whole, self._eos]
        return compact([], ended, True, (), asked or [self._eos])

    def _last(self, example: Chat) -> Answer:
        return self._conversations.answer(example, len(example.turns) - 1)

    def _spans(self, example: Chat, asked: str) -> list[tuple[int, int]]:
        """Where earlier answers stand in the text before the last one: those that stand there
        behind what they are asked with, and as they are said."""
        spans: list[tuple[int, int]] = []
        for index in example.answers[:-1]:
            answer = self._conversations.answer(example, index)
            begin = len(answer.asked)
            if not asked.startswith(answer.asked) or begin < (spans[-1][1] if spans else 0):
                continue
            there = asked[begin:]
            if said := next(
                (each for each in self._ways(answer.said) if there.startswith(each)), ""
            ):
                spans.append((begin, begin + len(said)))
        return spans

    def _ways(self, said: str) -> list[str]:
        """An answer, and the same without what a template writes behind the last turn alone,
        where another token ends it before."""
        text = said.rstrip()
        short = text.removesuffix(self._tokenizer.eos_token)
        ways = [said, text]
        if short.rstrip().endswith(self._ends):
            ways += [short, short.rstrip()]
        return ways

    def _by_marks(self, example: Chat) -> Tokens:
        ids, mask = self._template.marked(example.turns, example.tools)
        learnt = self._weighed(example, _runs(mask))
        if not learnt:
            raise RefusedError("its generation marks enclose no token")
        *earlier, (begin, end) = learnt
        # Without any prompt the first token of the answer has nothing to follow on.
        prompt, answer, rest = ids[:begin] or [self._eos], ids[begin:end], ids[end:]
        if self._eos not in answer:
            # The template marks no end token, or has none.
            answer += (
                [*rest[: rest.index(self._eos)], self._eos] if self._eos in rest else [self._eos]
            )
        [asked] = plain_ids(self._tokenizer, [self._conversations.asked(example)])
        asked = asked or [self._eos]
        return compact(prompt, answer, False, earlier, None if asked == prompt else asked)

    def _weighed(self, example: Chat, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Without the spans of turns that aren't learnt."""
        said = [i for i, turn in enumerate(example.turns) if turn.role == "assistant"]
        if len(said) == len(example.answers):
            return runs
        kept, before = [], 0
        for index in said:
            _, mask = self._template.marked(example.turns[: index + 1], example.tools)
            through = len(_runs(mask))
            kept += runs[before:through] if example.turns[index].learnt else []
            before = through
        return kept

    def _cut(self, found: Tokens, chat: Chat) -> Tokens:
        """At most max_length tokens of the last question and its answer."""
        if self._learn_all:
            kept = found.completion[: self._max_length]
            return compact([], kept, True, (), self._last_tokens(found.question))
        completion = list(found.completion)
        room = max(self._max_length - len(completion), self._max_length // 2)
        prompt = list(found.prompt)
        if len(prompt) > room:
            prompt = self._shortened(chat, prompt, room)
        asked = None if found.asked is None else self._last_tokens(list(found.asked))
        return compact(prompt, completion[: self._max_length - len(prompt)], False, (), asked)

    def _shortened(self, chat: Chat, prompt: list[int], room: int) -> list[int]:
        """The prompt without the start of its longest text: it keeps what stands before it, and
        ends as it did."""
        texts = [turn.content or "" for turn in chat.turns[:-1] if turn.role not in _SYSTEM]
        longest = max(texts, key=len, default="").strip()
        if longest and not self._marked:
            asked = self._last(chat).asked
            at = asked.rfind(longest)
            if at > 0:
                head, tail = self._segments.encode([[asked[:at], asked[at:]]])[0]
                behind = len(plain_ids(self._tokenizer, [asked[at + len(longest) :]])[0])
                # The system's words stay, as long as an answer has room for some of its own.
                most = self._max_length - max(self._max_length // 8, 1)
                room = max(room, min(len(head) + behind + _SOME, most))
                excess = len(head) + len(tail) - room
                if excess < len(tail) - behind:
                    return [*head, *tail[excess:]]
        return self._last_tokens(prompt, room)

    def _last_tokens(self, ids: list[int], room: int | None = None) -> list[int]:
        """The first token (begin of text), and as many of the last as there is room for."""
        room = room or self._max_length
        return ids if len(ids) <= room else [*ids[:1], *ids[len(ids) - room + 1 :]]

    def _refused(self, example: Chat, problem: str) -> TrainerError:
        roles = ", ".join(turn.role for turn in example.turns[:12])
        return data_error(
            "ChatTemplateRefused",
            f"{example.place}: the model's chat template can't be used for the turns {roles}: "
            f"{problem}",
            self._param,
        )


def _runs(mask: Sequence[int]) -> list[tuple[int, int]]:
    """[begin, end) of each run of what is set."""
    spans = []
    for counted, group in groupby(range(len(mask)), key=lambda index: bool(mask[index])):
        places = list(group)
        if counted:
            spans.append((places[0], places[-1] + 1))
    return spans


def apart(example: Chat) -> list[Chat]:
    """A conversation for each of its answers, which ends with it and learns it alone."""
    turns = [Turn(turn.role, turn.content, turn.more, learnt=False) for turn in example.turns]
    return [
        Chat((*turns[:index], example.turns[index]), example.place, example.tools)
        for index in example.answers
    ]
