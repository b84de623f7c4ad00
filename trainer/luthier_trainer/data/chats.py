"""Rows that are conversations: OpenAI's messages, ShareGPT's, Alpaca's instructions.

A conversation ends with its last answer that is learnt: what follows teaches nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from luthier_trainer.data.examples import Chat, Turn
from luthier_trainer.data.messages import KEYS, is_message, read_tools, read_turn
from luthier_trainer.data.row import Row, shown
from luthier_trainer.data.values import as_text, items_of, mistake, printed, value_of
from luthier_trainer.errors import data_error
from luthier_trainer.log import log

# Columns beside a conversation: the functions that may be called, and ShareGPT's system prompt.
TOOLS = ("tools", "functions")
BESIDE_MESSAGES = (*TOOLS, "system")
# As LLaMA-Factory writes Alpaca's rows.
BESIDE_INSTRUCTION = ("system", "history")
_BEHIND = "a turn behind the last answer"
# How a text begins that may be a list of messages as JSON, or that is one by Python's str().
_WRITTEN = re.compile(r'\s*\[\s*\{\s*"')
_PRINTED = re.compile(r"\s*\[\s*\{(?=[^{}]*'(?:role|from)': ')(?=[^{}]*'(?:content|value)': )")


def of_messages(column: str, row: Row, *, learn_all: bool = False) -> Chat:
    """Raises TrainerError (InvalidMessages, InvalidList, InvalidTools)."""
    turns = _turns(items_of(row, column), row, learn_all)
    if not turns or turns[0].role != "system":
        turns = [*_system(row), *turns]
    return _chat(turns, row)


def of_prompt_and_completion(
    names: Mapping[str, str], row: Row, *, learn_all: bool = False
) -> Chat | None:
    """Where one at least is a list of messages: the completion's answers are learnt."""
    found = _prompt_and_completion(names, row)
    if found is None:
        return None
    asked, said = found
    before = [Turn(t.role, t.content, t.more, learnt=False) for t in _turns(asked, row, learn_all)]
    return _chat([*before, *_turns(said, row, learn_all)], row)


def of_chosen_and_rejected(columns: tuple[str, str], row: Row) -> tuple[Chat, Chat] | None:
    """Two conversations that begin with the same messages, which are the prompt; None where neither
    column holds a conversation."""
    found = [conversation(row, column) for column in columns]
    if found == [None, None]:
        return None
    for column, messages in zip(columns, found, strict=True):
        if messages is None:
            raise mistake("InvalidMessages", row, f"{column!r} is no list of messages")
    one, other = (_turns(messages or [], row, False) for messages in found)
    most = min(_last_answer(one), _last_answer(other))  # an answer at least is left of each
    shared = next((i for i in range(most) if one[i] != other[i]), most)
    system = [] if one[0].role == "system" else _system(row)
    before = [Turn(t.role, t.content, t.more, learnt=False) for t in (*system, *one[:shared])]
    if not before:
        problem = f"{columns[0]!r} and {columns[1]!r} begin with different messages: there is no "
        raise mistake("NoPrompt", row, problem + "prompt; name it in columns.prompt")
    first, second = (_chat([*before, *turns[shared:]], row) for turns in (one, other))
    return first, second


def of_prompt_and_answer(names: Mapping[str, str], row: Row) -> Chat | None:
    """As of_prompt_and_completion. Some answers begin with the prompt once more: it is taken
    once."""
    found = _prompt_and_completion(names, row)
    if found is None:
        return None
    asked, said = (_turns(messages, row, False) for messages in found)
    if len(said) > len(asked) and said[: len(asked)] == asked:
        said = said[len(asked) :]
    before = [Turn(t.role, t.content, t.more, learnt=False) for t in asked]
    return _chat([*before, *said], row)


def of_instruction(names: dict[str, str], row: Row, *, asked: str | None) -> Chat:
    """Alpaca's: what is asked is the instruction and, behind it, the input, if there is one."""
    turns = _system(row)
    for question, answer in _history(row):
        turns += [Turn("user", question), Turn("assistant", answer)]
    parts = [as_text(row.values[names["instruction"]])]
    if asked and row.values.get(asked) is not None:
        parts.append(as_text(row.values[asked]))
    question = "\n\n".join(part for part in parts if part.strip())
    answer = as_text(row.values[names["output"]])
    for text, name in ((question, "instruction"), (answer, "output")):
        if not text.strip():
            raise mistake("EmptyCompletion", row, f"{names[name]!r} is empty")
    return _chat([*turns, Turn("user", question), Turn("assistant", answer)], row)


def conversation(row: Row, column: str) -> list[Any] | None:
    """The list of messages that a column holds, of which the first tells; None where it holds
    something else. In tables it is JSON text, which may also be what an extraction is to say.
    Raises TrainerError (InvalidList, MalformedRow)."""
    value = row.values[column]
    if not isinstance(value, str):
        return value if _is_conversation(value) else None
    if _PRINTED.match(value):
        raise printed(row, column)
    found = value_of(row, column) if _WRITTEN.match(value) else None
    return found if _is_conversation(found) and is_message(found[0]) else None


def unread(column: str, row: Row) -> set[str]:
    """What of_messages leaves out of a row that it accepts."""
    return _unread(items_of(row, column))


def unread_of_prompt_and_completion(names: Mapping[str, str], row: Row) -> set[str]:
    """What of_prompt_and_completion leaves out of a row that it accepts."""
    asked, said = _prompt_and_completion(names, row) or ([], [])
    return _unread([*asked, *said])


def _last_answer(turns: list[Turn]) -> int:
    answers = (i for i in range(len(turns) - 1, -1, -1) if turns[i].role == "assistant")
    return next(answers, len(turns))


def _is_conversation(value: Any) -> TypeGuard[list[Any]]:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and ("role" in first or "from" in first)


def _unread(messages: list[Any]) -> set[str]:
    found = set()
    behind = False
    for message in messages:
        turn = read_turn(message)
        behind = not (turn.role == "assistant" and turn.learnt)
        given = {key for key in message if message[key] not in (None, "", [], {})}
        found |= given - KEYS[turn.role]
    return found | {_BEHIND} if behind else found


def _chat(turns: list[Turn], row: Row) -> Chat:
    answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    learnt = [i for i in answers if turns[i].learnt]
    if not learnt:
        problem = (
            "each message of the assistant has the weight 0, or is part of the prompt: nothing is "
            "left to learn"
            if answers
            else "no message is the assistant's: there is no answer"
        )
        raise mistake("InvalidMessages", row, problem)
    return Chat(tuple(turns[: learnt[-1] + 1]), row.place, read_tools(row, TOOLS))


def _turns(messages: list[Any], row: Row, learn_all: bool) -> list[Turn]:
    found = []
    for number, message in enumerate(messages, start=1):
        try:
            found.append(read_turn(message))
        except ValueError as error:
            problem, *values = error.args
            if values:
                log(f"data: {row.place}: message {number}: {shown(str(values[0]))}")
                problem += " (the pod's log has what it is)"
            raise mistake("InvalidMessages", row, f"message {number} {problem}") from None
        if learn_all and not found[-1].learnt:
            raise data_error(
                "InvalidMessages",
                f"{row.place}: message {number} has the weight 0, and lossOn All learns it all the "
                "same: remove the weight, or set lossOn to Auto",
                "dataset.lossOn",
            )
    return found


def _prompt_and_completion(
    names: Mapping[str, str], row: Row
) -> tuple[list[Any], list[Any]] | None:
    """Their messages; None where both are texts."""
    columns = [names["prompt"], names["completion"]]
    asked, said = (conversation(row, column) for column in columns)
    if asked is None and said is None:
        return None
    return (
        asked or _as_messages(row.values[columns[0]], "user", columns[0], row),
        said or _as_messages(row.values[columns[1]], "assistant", columns[1], row),
    )


def _as_messages(value: Any, role: str, column: str, row: Row) -> list[Any]:
    """A list of messages; a text is one of them."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    raise mistake("InvalidMessages", row, f"{column!r} is neither a list of messages nor a text")


def _system(row: Row) -> list[Turn]:
    text = row.values.get("system")
    return [Turn("system", text)] if isinstance(text, str) and text.strip() else []


def _history(row: Row) -> list[tuple[str, str]]:
    pairs = value_of(row, "history") or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(it, str) for it in pair)
        for pair in pairs
    ):
        raise mistake("InvalidMessages", row, "'history' is no list of [question, answer]")
    return [(question, answer) for question, answer in pairs]
