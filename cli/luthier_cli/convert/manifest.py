"""Manifests as YAML, with comments: what differs, what is to be filled in, what can't be said."""

import json
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from luthier_api.kinds import Kind
from luthier_api.visible import one_line
from luthier_cli.convert.draft import Draft
from luthier_cli.convert.told import Fate, Told
from luthier_cli.yaml import Path, scalar

_WIDTH = 100
# Words, paths and URIs that need no quotes in any place.
_PLAIN = re.compile(r"[A-Za-z_/]([A-Za-z0-9_./+ -]|:/)*[A-Za-z0-9_./]|[A-Za-z_]")
_LONG = 4  # items that a list of words has in one line, at most


def plain(document: dict[str, Any]) -> str:
    """As YAML, without comments."""
    return "\n".join(_lines(document, (), {})) + "\n"


def commented(draft: Draft, origin: str) -> str:
    """As YAML, with what became of the fields of a configuration of `origin`, if it is of one."""
    notes: dict[Path, list[str]] = {}
    for told in draft.told:
        if told.target and (note := _note(told)):
            path = tuple(told.target.split("."))
            notes.setdefault(path, []).append(note)
    body = _lines(draft.document(), (), _placed(notes, draft.document()))
    return "\n".join([*_head(draft, origin), *body]) + "\n"


def in_order(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec in the order of the reference."""
    ordered: dict[str, Any] = _ordered(kind.spec_model(), spec)
    return ordered


def _ordered(model: Any, value: Any) -> Any:
    if not isinstance(value, dict) or model is None:
        return value
    fields = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    known = [name for name in fields if name in value]
    rest = [name for name in value if name not in fields]
    return {name: _ordered(_model(fields.get(name)), value[name]) for name in (*known, *rest)}


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (
        it for it in get_args(annotation) if isinstance(it, type) and issubclass(it, BaseModel)
    )
    return next(inner, None)


def _note(told: Told) -> str:
    named = told.field and f"{told.field}: {told.shown}" if told.shown else told.field
    match told.fate:
        case Fate.FILL:
            return f"FILL IN{f' ({named})' if named else ''}: {told.why}"
        case Fate.DIFFERS:
            return f"{named}: {told.why}" if named else told.why
        case Fate.DEFAULT if told.field:
            return f"{told.field}: not given, and this is its default"
    return ""


def _placed(notes: dict[Path, list[str]], document: dict[str, Any]) -> dict[Path, list[str]]:
    """Notes at the nearest field that is there."""
    placed: dict[Path, list[str]] = {}
    for path, lines in notes.items():
        while path and not _is_there(document, path):
            path = path[:-1]
        placed.setdefault(path, []).extend(lines)
    return placed


def _is_there(value: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _head(draft: Draft, origin: str) -> Iterator[str]:
    if origin:
        yield from _comment(f"Converted from {origin} by `luthier convert`.")
    for fate, words in (
        (Fate.LOST, "What it says, and can't be said here:"),
        (Fate.UNKNOWN, "What it says, and this command doesn't know:"),
    ):
        told = [it for it in draft.told if it.fate is fate]
        if told:
            yield from _comment(words)
        for it in told:
            yield from _comment(
                f"- {it.field}: {it.shown}: {it.why}" if it.why else f"- {it.field}", "  "
            )


def _comment(words: str, hanging: str = "", indent: str = "") -> list[str]:
    lines = textwrap.wrap(
        one_line(words).replace("\t", " "),
        width=_WIDTH - len(indent) - 2,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{indent}# {line}" for line in lines]


def _lines(value: dict[str, Any], path: Path, notes: dict[Path, list[str]]) -> Iterator[str]:
    indent = "  " * len(path)
    for key, item in value.items():
        here = (*path, key)
        for note in notes.get(here, ()):
            yield from _comment(note, indent=indent)
        head = f"{indent}{_scalar(key)}:"
        if isinstance(item, dict) and item:
            yield head
            yield from _lines(item, here, notes)
        elif isinstance(item, list) and not _is_short(item):
            yield head
            yield from _items(item, indent)
        else:
            yield f"{head} {_flow(item)}"


def _items(items: Sequence[Any], indent: str) -> Iterator[str]:
    for item in items:
        yield f"{indent}- {_flow(item)}"


def _is_short(items: list[Any]) -> bool:
    return len(items) <= _LONG and not any(isinstance(it, dict | list) for it in items)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_scalar(key)}: {_flow(it)}' for key, it in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A value in one line: plain where it reads as itself, else quoted."""
    if not isinstance(value, str):
        return _number(value) if isinstance(value, float) else json.dumps(value)
    if _PLAIN.fullmatch(value) and scalar(value) == value:
        return value
    quoted: str = yaml.dump(value, default_style='"', width=math.inf, allow_unicode=True)
    # What acts on a terminal is escaped as Python writes it, which YAML's quotes read alike.
    return one_line(quoted.rstrip("\n"))


def _number(value: float) -> str:
    """1e-05 as 1.0e-05: YAML's readers take the one for a text."""
    written = repr(value)
    mantissa, e, exponent = written.partition("e")
    return written if not e or "." in mantissa else f"{mantissa}.0e{exponent}"
