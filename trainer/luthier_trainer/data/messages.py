"""One message of a conversation, in the ways in which data has them.

OpenAI's {role, content} with tool_calls, content parts and weight, its older function_call, and
ShareGPT's {from, value}.
"""

from typing import Any

from luthier_trainer.data.examples import Turn
from luthier_trainer.data.row import Row
from luthier_trainer.data.values import mistake, parsed, value_of

_ROLES = ("system", "developer", "user", "assistant", "tool")
# ShareGPT's `from`; `function_call` is the assistant's, and its value the call.
_SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
}
_REASONING = ("reasoning_content", "reasoning", "thinking")
_BASE = {"role", "content", "from", "value"}
_SAID = {*_REASONING, "tool_calls", "function_call", "weight", "refusal"}
# What is read of a message, by its role. A weight says something of an answer alone.
KEYS: dict[str, set[str]] = {
    "system": {*_BASE, "weight"},
    "developer": {*_BASE, "weight"},
    "user": {*_BASE, "weight"},
    "assistant": {*_BASE, *_SAID},
    "tool": {*_BASE, "weight", "tool_call_id", "name"},
}
# What a message has beside its role.
_CONTENT = {"content", "value", "tool_calls", "function_call"}
_OTHER_MEDIA = ("image", "audio", "video", "file")


def is_message(value: Any) -> bool:
    """Whether an object is certain to be one, and not another that has a role or a `from`."""
    speaker = value.get("role", value.get("from"))
    return speaker in (*_ROLES, *_SPEAKERS) and not _CONTENT.isdisjoint(value)


def read_turn(message: Any) -> Turn:
    """Raises ValueError: what goes on from "message N" and, of some, the value that is wrong, which
    the log alone may have."""
    if not isinstance(message, dict):
        raise ValueError("is no {role, content}")
    message = {key: value for key, value in message.items() if value is not None}
    speaker = message.get("role", message.get("from"))
    role = _SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if role not in _ROLES:
        raise ValueError(f"has another role than {', '.join(_ROLES)}", speaker)
    said = message.get("content", message.get("value"))
    if speaker == "function_call":
        message, said = {**message, "function_call": said}, None
    content = _text(said)
    more: dict[str, Any] = {}
    if role == "assistant":
        content = content if content is not None else _text(message.get("refusal"))
        more = _said(message)
    elif role == "tool":
        more = {k: str(message[k]) for k in ("tool_call_id", "name") if message.get(k)}
        content = content or ""
    if role != "tool" and not (content and content.strip()):
        if "tool_calls" not in more:
            raise ValueError("has no text as its content")
        content = content or None
    learnt = _is_learnt(message) or role != "assistant"
    return Turn(role, content, more, learnt=learnt)


def read_tools(row: Row, columns: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """The functions that a row offers, as OpenAI writes them. Raises TrainerError."""
    column = next((name for name in columns if row.values.get(name)), None)
    if column is None:
        return ()
    given = row.values[column]
    found = value_of(row, column) if isinstance(given, str) else _without_nulls(given)
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(it, dict) for it in found):
        raise mistake("InvalidTools", row, f"{column!r} is no list of functions")
    tools = [it if "function" in it else {"function": it} for it in found]
    for tool in tools:
        if not isinstance(tool["function"], dict) or not tool["function"].get("name"):
            raise mistake("InvalidTools", row, f"a function of {column!r} has no name")
    return tuple({"type": "function", **tool} for tool in tools)


def _text(content: Any) -> str | None:
    """Of text, or of parts of text. Raises ValueError."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("has no text as its content")
    return "".join(map(_part, content))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else None
    media = next((it for it in _OTHER_MEDIA if isinstance(kind, str) and it in kind), None)
    if media:
        raise ValueError(f"has a part of the type {media}: only text is learnt", kind)
    text = part.get("text", part.get("refusal")) if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise ValueError("has a part that holds no text", kind)
    return text


def _said(message: dict[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    thought = next((message[name] for name in _REASONING if message.get(name)), None)
    if thought is not None:
        if not isinstance(thought, str):
            raise ValueError("has reasoning that is no text")
        more["reasoning_content"] = thought
    given = message.get("tool_calls") or message.get("function_call") or []
    calls = parsed(given)
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list):
        raise ValueError("has tool_calls that are no list")
    if calls:
        more["tool_calls"] = [_call(call) for call in calls]
    return more


def _call(call: Any) -> dict[str, Any]:
    """As templates read it: {id, type, function: {name, arguments}}, arguments as an object."""
    call = _without_nulls(call) if isinstance(call, dict) else call
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("calls a tool without a name")
    given = function.get("arguments", function.get("parameters", {}))
    arguments = parsed(given)
    if not isinstance(arguments, dict):
        raise ValueError("calls a tool with arguments that are no JSON object", function["name"])
    known = {key: str(call[key]) for key in ("id",) if key in call}
    named = {"name": function["name"], "arguments": arguments}
    return {**known, "type": "function", "function": named}


def _is_learnt(message: dict[str, Any]) -> bool:
    weight = message.get("weight", 1)
    if isinstance(weight, str) and weight in ("0", "1"):
        weight = int(weight)
    if weight not in (0, 1):
        raise ValueError("has another weight than 0 or 1", weight)
    return bool(weight)


def _without_nulls(value: Any) -> Any:
    """Parquet fills objects up with nulls."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
