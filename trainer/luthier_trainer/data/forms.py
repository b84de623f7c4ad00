"""The forms of examples: which columns they need, and how a row becomes one."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from luthier_api.finetuning import FineTuning
from luthier_trainer.data.examples import Chat, Completion, Example, Labelled, Pair, Tagged, Turn
from luthier_trainer.data.rows import Row
from luthier_trainer.data.tagging import to_bio, words_and_tags
from luthier_trainer.data.template import Template, parse_template
from luthier_trainer.errors import TrainerError, data_error

_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Form:
    """`columns`: column → field of the spec that names it. `convert` raises TrainerError.
    `unread`: what is in a row's columns, but not in its example."""

    columns: dict[str, str]
    convert: Callable[[Row], Example]
    template: Template | None = None
    unread: Callable[[Row], Iterable[str]] = lambda _: ()


def parse_form(tuning: FineTuning) -> Form:
    """The form that dataset.template or dataset.columns names. Raises TrainerError."""
    dataset = tuning.dataset
    if dataset.columns is None:
        template = parse_template(dataset.template or "")
        if tuning.task == "classification" and template.label_in_prompt:
            raise data_error(
                "LabelInPrompt",
                f"the template's last column {template.label_column!r} is the answer, and stands "
                "before it too: the model would only copy it; remove it from the prompt",
                "dataset.template",
            )
        columns = dict.fromkeys(template.columns, "dataset.template")
        return Form(columns, partial(_by_template, template), template)
    names = {
        name: getattr(dataset.columns, name)
        for name in type(dataset.columns).model_fields
        if getattr(dataset.columns, name)
    }
    columns = {column: f"dataset.columns.{name}" for name, column in names.items()}
    convert: Callable[..., Example]
    if "prompt" in names:
        convert = _completion
    elif "messages" in names:
        unread = partial(_unread_keys, names)
        return Form(columns, partial(_chat, names), unread=unread)
    elif "tokens" in names:
        convert = _tagged
    elif "spans" in names:
        convert = _spans
    elif "first" in names:
        convert = partial(_pair, any_number=tuning.training.loss is not None)
    else:
        convert = _labelled
    return Form(columns, partial(convert, names))


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _by_template(template: Template, row: Row) -> Completion:
    values = {column: as_text(row.values[column]) for column in template.columns}
    label = values[template.label_column]
    if not label.strip():
        raise _empty(row, template.label_column)
    text = template.render(values)
    return Completion(text.prompt, text.completion, label, row.place)


def _completion(names: dict[str, str], row: Row) -> Completion:
    prompt, completion = (as_text(row.values[names[name]]) for name in ("prompt", "completion"))
    if not completion.strip():
        raise _empty(row, names["completion"])
    return Completion(prompt, completion, completion, row.place)


def _chat(names: dict[str, str], row: Row) -> Chat:
    turns = []
    for number, message in enumerate(_items(row, names["messages"]), start=1):
        where = f"message {number}"
        if not isinstance(message, dict):
            raise _mistake("InvalidMessages", row, f"{where} is no {{role, content}}")
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES:
            raise _mistake(
                "InvalidMessages", row, f"{where} has the role {role!r}, not {', '.join(_ROLES)}"
            )
        if not isinstance(content, str) or not content.strip():
            raise _mistake("InvalidMessages", row, f"{where} has no text as its content")
        turns.append(Turn(role, content))
    if not turns or turns[-1].role != "assistant":
        raise _mistake(
            "InvalidMessages", row, "the last message isn't the assistant's: there is no answer"
        )
    return Chat(tuple(turns), row.place)


def _unread_keys(names: dict[str, str], row: Row) -> set[str]:
    """Of messages that _chat accepts."""
    messages = _items(row, names["messages"])
    keys = {key for each in messages for key in each if each[key] not in (None, "", [], {})}
    return keys - {"role", "content"}


def _labelled(names: dict[str, str], row: Row) -> Labelled:
    text, label = (as_text(row.values[names[name]]) for name in ("text", "label"))
    for name, value in (("text", text), ("label", label)):
        if not value.strip():
            raise _empty(row, names[name])
    return Labelled(text, label, row.place)


def _tagged(names: dict[str, str], row: Row) -> Tagged:
    tokens, tags = _items(row, names["tokens"]), _items(row, names["tags"])
    if not tokens or not all(isinstance(token, str) and token.strip() for token in tokens):
        raise _mistake("InvalidTokens", row, "tokens are words, and none is empty")
    if len(tokens) != len(tags):
        raise _mistake("InvalidTag", row, f"{len(tokens)} tokens, but {len(tags)} tags")
    return Tagged(tuple(tokens), to_bio(tags, row.place), row.place)


def _spans(names: dict[str, str], row: Row) -> Tagged:
    text = as_text(row.values[names["text"]])
    if not text.strip():
        raise _empty(row, names["text"])
    words, tags = words_and_tags(text, _items(row, names["spans"]), row.place)
    return Tagged(words, tags, row.place)


def _pair(names: dict[str, str], row: Row, *, any_number: bool) -> Pair:
    first, second = (as_text(row.values[names[name]]) for name in ("first", "second"))
    for name, value in (("first", first), ("second", second)):
        if not value.strip():
            raise _empty(row, names[name])
    label = None
    if "label" in names:
        value = row.values[names["label"]]
        try:
            label = float(value)
        except (TypeError, ValueError):
            label = float("nan")
        if not (abs(label) < float("inf") if any_number else 0 <= label <= 1):
            scale = "a number" if any_number else "a number from 0 to 1"
            raise _mistake("InvalidScore", row, f"{names['label']!r} is {value!r}, not {scale}")
    return Pair(first, second, label, row.place)


def _items(row: Row, column: str) -> list[Any]:
    """A list; in .csv it is written as JSON."""
    value = row.values[column]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, list):
        raise _mistake("InvalidList", row, f"{column!r} is no list (in .csv: a list as JSON)")
    return value


def _empty(row: Row, column: str) -> TrainerError:
    return data_error(
        "EmptyCompletion",
        f"{row.place}: {column!r} is empty: there is nothing to learn; fill it in or remove the "
        "row",
    )


def _mistake(code: str, row: Row, problem: str) -> TrainerError:
    return data_error(code, f"{row.place}: {problem}; correct or remove the row")
