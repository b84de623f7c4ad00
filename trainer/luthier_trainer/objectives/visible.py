"""What a user of a chat sees of an answer: neither the reasoning, nor what the template writes
around an answer."""

import re
from functools import cached_property
from typing import Any

from luthier_trainer.data.examples import Turn
from luthier_trainer.objectives.chattemplate import ChatTemplate, RefusedError
from luthier_trainer.objectives.segments import plain_ids

_QUESTION, _THOUGHT, _ANSWER = "Question-7c3e", "Thought-51ab", "Answer-9d20"
# The end of a block of reasoning, as templates write it: </think>, [/THINK], …
_CLOSING = re.compile(r"[<\[]/(\w*(?:think|thought|reason)\w*)[>\]]", re.IGNORECASE)


class Visible:
    def __init__(self, template: ChatTemplate, tokenizer: Any) -> None:
        self._template = template
        self._tokenizer = tokenizer

    def of(self, text: str) -> str:
        """Of an answer that a model gave, without special tokens."""
        found = self.without_reasoning(text)
        before, behind = self._around
        if before and found.lstrip().startswith(before):
            found = found.lstrip().removeprefix(before)
        if behind and found.rstrip().endswith(behind):
            found = found.rstrip().removesuffix(behind)
        return found if found == text else found.strip()

    def without_reasoning(self, text: str) -> str:
        """Of any answer, of a row say."""
        found = text
        for opening, closing in self._blocks:
            if closing in found:
                found = found.partition(closing)[2]
            elif found.lstrip().startswith(opening):
                return ""  # it never came to an answer
        return found if found == text else found.strip()

    @cached_property
    def _blocks(self) -> list[tuple[str, str]]:
        """Opening and closing of the reasoning that the template knows."""
        names = dict.fromkeys(found[0] for found in _CLOSING.finditer(self._template.text))
        blocks = [(closing.replace("/", "", 1), closing) for closing in names]
        written = self._written(thought=True)
        if written and 0 <= written.find(_THOUGHT) < written.find(_ANSWER):
            before, _, rest = written.rpartition(_ANSWER)[0].rpartition(_THOUGHT)
            closing = rest.strip()
            opening = before.rstrip().rpartition("\n")[2].strip()
            if closing and opening and all(closing not in known for _, known in blocks):
                blocks.append((opening, closing))
        return blocks

    @cached_property
    def _around(self) -> tuple[str, str]:
        """What the template writes before an answer that the generation prompt lacks, and
        behind it, without special tokens and blanks."""
        written = self._written(thought=False)
        if not written or _ANSWER not in written:
            return "", ""
        before, _, behind = written.rpartition(_ANSWER)
        before, behind = (
            self._tokenizer.decode(ids, skip_special_tokens=True).strip()
            for ids in plain_ids(self._tokenizer, [before, behind])
        )
        return before, behind

    def _written(self, *, thought: bool) -> str | None:
        """An answer behind the generation prompt; None: the template writes none there."""
        question = Turn("user", _QUESTION)
        more = {"reasoning_content": _THOUGHT} if thought else {}
        try:
            asked = self._template.write([question], ask=True)
            through = self._template.write([question, Turn("assistant", _ANSWER, more)])
        except RefusedError:
            return None
        return through.removeprefix(asked) if through.startswith(asked) else None
