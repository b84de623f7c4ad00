"""What an assistant's turn follows on, and what it says: the one place that decides it, for
training, evaluation and whoever serves the model."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from luthier_trainer.data.examples import Chat, Turn
from luthier_trainer.objectives.chattemplate import ChatTemplate, RefusedError

# A block that a generation prompt leaves open for the model to close, such as <think>; or one
# that it closes at once.
_OPEN = re.compile(r"([<\[])([A-Za-z_]\w*)([>\]])\s*$")
_EMPTY = re.compile(r"([<\[])([A-Za-z_]\w*)([>\]])\s*[<\[]/\2[>\]]\s*$")
_STAND_IN = "Stand-in-4d1f"


class Answer(NamedTuple):
    """A turn of the assistant. `asked`: all text before it, as the template writes it when the
    model is asked; `said`: what it is to say then, with the end of its turn."""

    asked: str
    said: str


class Conversations:
    """Reads turns by a chat template. `end`: the text of the tokenizer's end token."""

    def __init__(self, template: ChatTemplate, end: str) -> None:
        self._template = template
        self._end = end

    def answer(self, chat: Chat, index: int) -> Answer:
        """That turn of the assistant, as if it were the last: templates write earlier ones
        otherwise, but the model is asked for each as the last. Raises RefusedError."""
        turns = chat.turns[: index + 1]
        through = self._template.write(turns, chat.tools)
        asked = self._asked(turns, chat.tools, through)
        said = self._said(turns, chat.tools, asked, through)
        calls = turns[-1].more.get("tool_calls", ())
        if not all(call["function"]["name"] in said for call in calls):
            raise RefusedError(
                "it doesn't write what tools the assistant calls (tool_calls); set a "
                "FineTuneJob's dataset.chatTemplate to one that does"
            )
        if not said.strip():
            raise RefusedError("it writes nothing for an answer of the assistant")
        return Answer(asked, self._ended(said))

    def asked(self, chat: Chat) -> str:
        """What the last turn follows on. Raises RefusedError."""
        return self._asked(chat.turns, chat.tools)

    def _asked(self, turns: Sequence[Turn], tools: Any, through: str | None = None) -> str:
        """`through`: the turns as the template writes them."""
        if turns[:-1]:
            try:
                return self._template.write(turns[:-1], tools, ask=True)
            except RefusedError:  # it asks for no answer to these turns, but may write one
                pass
        return self._before(turns[-1], through or self._template.write(turns, tools))

    def _before(self, turn: Turn, through: str) -> str:
        """Of an answer that follows on nothing: all before what it says."""
        opened = _OPEN.search(self._header)
        head = self._header[: opened.start()] if opened else ""
        for each in filter(None, (self._header, head)):
            if (found := through.rfind(each)) >= 0:
                return through[: found + len(each)]
        found = through.find((turn.content or "").strip())
        if found < 0 or not turn.content:
            raise RefusedError("there is no telling where the first answer begins")
        return through[:found]

    @cached_property
    def _header(self) -> str:
        """What the generation prompt is, behind a question."""
        question = [Turn("user", _STAND_IN)]
        try:
            plain = self._template.write(question)
            asked = self._template.write(question, ask=True)
        except RefusedError:
            return ""
        return asked.removeprefix(plain) if asked.startswith(plain) else ""

    @cached_property
    def _lead(self) -> str:
        """What the template writes between the generation prompt and an answer's text."""
        question, answer = Turn("user", "?"), Turn("assistant", _STAND_IN)
        try:
            asked = self._template.write([question], ask=True)
            through = self._template.write([question, answer])
        except RefusedError:
            return ""
        lead = through.removeprefix(asked).rpartition(_STAND_IN)[0]
        return lead if through.startswith(asked) else ""

    def _said(self, turns: Sequence[Turn], tools: Any, asked: str, through: str) -> str:
        turn = turns[-1]
        if through.startswith(asked):
            return through[len(asked) :]
        if (found := _OPEN.search(asked)) and through.startswith(asked[: found.start()]):
            return self._closed(turn, found, through[found.start() :])
        if (found := _EMPTY.search(asked)) and through.startswith(asked[: found.start()]):
            return through[found.start() :]
        # Blanks that end the generation prompt, and not the header of an answer.
        if (stem := asked.rstrip()) and through.startswith(stem):
            return through[len(stem) :]
        # Some write a question otherwise once it is answered (Mistral's put the system's words
        # before the last one alone): another answer in place of this one tells where it begins.
        other = self._template.write([*turns[:-1], Turn("assistant", _STAND_IN)], tools)
        before = other.rpartition(_STAND_IN)[0].removesuffix(self._lead)
        if before and through.startswith(before):
            return through[len(before) :]
        raise RefusedError(
            "what it asks with isn't what it writes before the answer, so there is no telling what "
            "the model is to say; set a FineTuneJob's dataset.chatTemplate to one that agrees, or "
            "dataset.lossOn to All"
        )

    def _closed(self, turn: Turn, found: re.Match[str], written: str) -> str:
        """The answer behind a block that the generation prompt opens, and that the template
        leaves out of an answer: the reasoning, if there is any, and the block's end."""
        opening = "".join(found.groups())
        closing = f"{found[1]}/{found[2]}{found[3]}"
        if written.lstrip().startswith(opening):
            return written.lstrip().removeprefix(opening).lstrip("\n")
        thought = str(turn.more.get("reasoning_content") or "")
        if not thought and closing in (turn.content or ""):
            thought = str(turn.content).partition(closing)[0].rpartition(opening)[2]
        return f"{thought.strip(chr(10))}\n{closing}\n\n{written.lstrip(chr(10))}"

    def _ended(self, said: str) -> str:
        """Without a generation prompt that a template writes unasked."""
        ends = said.rfind(self._end)
        behind = said[ends + len(self._end) :] if ends >= 0 else ""
        return said[: len(said) - len(behind)] if behind.strip() else said
