"""A chat template, run: conversations as the text that a tokenizer's template makes of them.

Templates are code of whoever published the model, or of the user. They run in the sandbox of
transformers, with a limit to their time, their memory and their text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from luthier_trainer.data.examples import Turn
from luthier_trainer.errors import IN_LOG, stands_in, words_of
from luthier_trainer.objectives.limits import TooLongError, limited

_SECONDS = 10.0
_BYTES = 1 << 30
_CHARACTERS = 1 << 24
_DATE = "strftime_now"
# How strftime writes a moment; `-` leaves out the zero in front.
_DIRECTIVES = (*"aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ", *(f"-{it}" for it in "dejHIlmMSyUW"))


class RefusedError(Exception):
    """The template makes no text of these turns; the text says why. Its cause has the template's
    own words, which may quote a row."""


def run(tokenizer: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """What apply_chat_template makes of these messages, within the limits. Raises TooLongError,
    MemoryError, and whatever the template does."""
    with limited(_SECONDS, _BYTES):
        found = tokenizer.apply_chat_template(messages, **options)
    if len(found if isinstance(found, str) else found["input_ids"]) > _CHARACTERS:
        raise TooLongError
    return found


class ChatTemplate:
    """The template of a tokenizer of transformers. `now`: the moment that it sees."""

    def __init__(self, tokenizer: Any, now: datetime | None = None) -> None:
        self._tokenizer = tokenizer
        self._now = now or datetime.now(UTC)
        known = tokenizer.chat_template
        self.text = "\n".join(known.values()) if isinstance(known, dict) else str(known)
        self.dated = _DATE in self.text
        self._knows_developer = "developer" in self.text
        # The one that this template takes comes first.
        self._shapes = list(_SHAPES)

    def write(
        self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]] = (), *, ask: bool = False
    ) -> str:
        """`ask`: with what the assistant's next turn begins with. Raises RefusedError."""
        text: str = self._apply(turns, tools, tokenize=False, add_generation_prompt=ask)
        return text

    def marked(
        self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[list[int], list[int]]:
        """Token ids, and for each whether {% generation %} encloses it. Raises RefusedError."""
        found = self._apply(
            turns, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return list(found["input_ids"]), list(found["assistant_masks"])

    def _apply(
        self, turns: Sequence[Turn], tools: Sequence[Mapping[str, Any]], **options: Any
    ) -> Any:
        first: Exception | None = None
        for shape in self._shapes if _has_shapes(turns) else self._shapes[:1]:
            messages = [self._message(turn, *shape) for turn in turns]
            try:
                found = self._run(messages, list(tools) or None, options)
            except Exception as error:
                first = first or error
                if isinstance(error, TooLongError | MemoryError):
                    break
            else:
                self._shapes = [shape, *(other for other in self._shapes if other != shape)]
                return found
        assert first
        raise RefusedError(_why(first, self.text)) from first

    def _run(self, messages: Any, tools: Any, options: dict[str, Any]) -> Any:
        if self.dated:
            text = self._tokenizer.get_chat_template(tools=tools)
            options = {**options, "chat_template": _date_macro(self._now) + text}
        return run(self._tokenizer, messages, tools=tools, **options)

    def _message(self, turn: Turn, arguments_as_text: bool, empty_content: bool) -> dict[str, Any]:
        message = turn.message
        if turn.role == "developer" and not self._knows_developer:
            message["role"] = "system"
        if turn.content is None and empty_content:
            message["content"] = ""
        if arguments_as_text and "tool_calls" in message:
            message["tool_calls"] = list(map(_with_text, message["tool_calls"]))
        return message


# Whether arguments of calls are text (most templates take an object), and whether an answer that
# only calls tools has an empty content (most take none).
_SHAPES = ((False, False), (False, True), (True, False), (True, True))


def _has_shapes(turns: Sequence[Turn]) -> bool:
    return any(turn.content is None or "tool_calls" in turn.more for turn in turns)


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


@cache
def _date_macro(now: datetime) -> str:
    """Stands before a template, in place of the function of its environment, which tells the
    present time: a run that is gone on from another day would learn other tokens."""
    written = "".join(f"|replace({name!r}, {text!r})" for name, text in _written(now))
    return f"{{% macro {_DATE}(format) %}}{{{{ format{written} }}}}{{% endmacro %}}\n"


def _written(now: datetime) -> Iterator[tuple[str, str]]:
    yield "%%", "\x00"
    for directive in sorted(_DIRECTIVES, key=len, reverse=True):
        yield f"%{directive}", now.strftime(f"%{directive}")
    yield "\x00", "%"


def _why(error: Exception, template: str) -> str:
    """The template's own words where it refuses (raise_exception), on one line; but those alone
    that stand in it."""
    if isinstance(error, TooLongError):
        return (
            f"it takes more than {_SECONDS:.0f} s, or writes more than {_CHARACTERS:,} characters"
        )
    if isinstance(error, MemoryError):
        return f"it takes more than {_BYTES >> 30} GiB of memory"
    name, text = type(error).__name__, str(error)
    if name == "TemplateSyntaxError":
        return f"its line {getattr(error, 'lineno', '?')} is no Jinja: {_line(text)}"
    if name == "TemplateError" and text:
        return _line(text) if stands_in(text, template) else f"it refuses them: {IN_LOG}"
    return _line(words_of(error, template))


def _line(text: str) -> str:
    words = "".join(it if it.isprintable() else " " for it in text)
    return re.sub(r"\s+", " ", words).strip()[:300]
