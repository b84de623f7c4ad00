"""YAML as kubectl reads it, with the line of every field.

kubectl (sigs.k8s.io/yaml) reads YAML 1.1 in Go's dialect and passes it on as
JSON: `1e-6` is a number, `yes` and `on` are true, `017` is octal, `2.0` is the
integer 2. PyYAML reads some of these otherwise, so its scalars are resolved here.
A key that is given twice is refused: kubectl would silently take the last one.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]


def at(value: Any, path: Path) -> Any:
    """What stands there; None: nothing."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


_BOOLEANS = {
    word: value
    for value, names in ((True, ("y", "yes", "true", "on")), (False, ("n", "no", "false", "off")))
    for name in names
    for word in (name, name.capitalize(), name.upper())
}
_NULLS = {"", "~", "null", "Null", "NULL"}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MERGE = "<<"
_MAX_NODES = 100_000  # aliases of aliases, and merges of them, could grow without end
_MAX_DEPTH = 64  # the deepest field of the API has eight
_MAX_DIGITS = 30  # more are no integer of 64 bits

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_TAG = "tag:yaml.org,2002:"
_PLAIN = "!plain"  # no tag of YAML: stands for a plain scalar that has none


class YamlError(ValueError):
    """The text isn't YAML that kubectl would take. `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.message = message
        self.line = line


@dataclass(frozen=True)
class Document:
    """One document of a file: its value, and the line of every field."""

    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of the field, or of the nearest field around it that is there."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def at(self, path: Path) -> Any:
        """The value of a field that is there."""
        value = self.value
        for part in path:
            value = value[part]
        return value


def load_documents(text: str) -> list[Document]:
    """All documents that aren't empty. Raises YamlError."""
    try:
        return [
            document
            for node in yaml.compose_all(text, Loader=_Loader)
            if (document := _Reader().document(node)).value is not None
        ]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise YamlError(error.problem or str(error), line) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error).splitlines()[0], 1) from None


def load_value(text: str) -> Any:
    """A single value, e.g. of `--set field=VALUE`. Raises YamlError."""
    documents = load_documents(text)
    return documents[0].value if documents else None


class _Loader(yaml.SafeLoader):
    """Parses, and leaves plain scalars to `scalar`."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > _MAX_DEPTH or self._nodes > 2 * _MAX_NODES:  # keys are nodes here
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            if self._depth > _MAX_DEPTH:
                raise YamlError(f"nested more than {_MAX_DEPTH} times", line)
            raise YamlError(f"more than {_MAX_NODES} fields", line)
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, kind: type[Node], value: str | None, implicit: Any) -> str:
        if kind is ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


class _Reader:
    """Turns the nodes of one document into values, and notes their lines."""

    def __init__(self) -> None:
        self._lines: dict[Path, int] = {}
        self._open: list[Node] = []
        self._nodes = 0

    def document(self, node: Node) -> Document:
        self._lines[()] = node.start_mark.line + 1
        return Document(self._value(node, ()), self._lines)

    def _value(self, node: Node, path: Path) -> Any:
        with self._within(node):
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self._item(item, (*path, i)) for i, item in enumerate(node.value)]
            assert isinstance(node, ScalarNode)
            return _tagged(node)

    @contextmanager
    def _within(self, node: Node) -> Iterator[None]:
        """Counts what is read, however often the same is named, and how deep."""
        line = node.start_mark.line + 1
        if any(it is node for it in self._open):
            raise YamlError("an alias stands inside its own anchor", line)
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise YamlError(f"more than {_MAX_NODES} fields: too many aliases?", line)
        if len(self._open) > _MAX_DEPTH:
            raise YamlError(f"nested more than {_MAX_DEPTH} times", line)
        self._open.append(node)
        try:
            yield
        finally:
            self._open.pop()

    def _item(self, node: Node, path: Path) -> Any:
        self._note(path, node.start_mark.line + 1)
        return self._value(node, path)

    def _note(self, path: Path, line: int) -> None:
        self._lines[path] = line

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _PLAIN and key_node.value == _MERGE:
                for source in _merge_sources(value_node):
                    with self._within(source):
                        merged = self._mapping(source, path) | merged
                continue
            key = _key(key_node)
            if key in own:
                raise YamlError(f"{key!r} is given twice", line)
            self._note((*path, key), line)
            own[key] = self._value(value_node, (*path, key))
        return merged | own


def _merge_sources(node: Node) -> Iterator[MappingNode]:
    nodes = node.value if isinstance(node, SequenceNode) else [node]
    for source in nodes:
        if not isinstance(source, MappingNode):
            raise YamlError("<< merges mappings only", source.start_mark.line + 1)
        yield source


def _key(node: Node) -> str:
    """Keys are strings in JSON; kubectl writes other scalars as text."""
    value = _tagged(node) if isinstance(node, ScalarNode) else None
    if value is None:
        raise YamlError("a key must be a string", node.start_mark.line + 1)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _tagged(node: ScalarNode) -> Any:
    text, line = str(node.value), node.start_mark.line + 1
    tag = node.tag.removeprefix(_TAG)
    if tag == _PLAIN:
        return scalar(text, line)
    if tag in ("str", "!"):
        return text
    value = scalar(text, line)
    if tag not in _TYPES:
        raise YamlError(f"the tag {node.tag} isn't supported", line)
    if not isinstance(value, _TYPES[tag]):
        raise YamlError(f"{text!r} isn't of the type {tag}", line)
    return value


def scalar(text: str, line: int = 1) -> bool | int | float | str | None:
    """The value of a plain (unquoted) scalar. Raises YamlError for infinity and NaN."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.fullmatch(text):
        raise YamlError(f"{text} has no place in JSON: write a finite number", line)
    number = _number(text.replace("_", "")) if text[0] in "+-.0123456789" else None
    return text if number is None else number


def _number(text: str) -> int | float | None:
    if len(text) <= _MAX_DIGITS and (match := _INTEGER.fullmatch(text)):
        value = _integer(*match.groups())
        if -(2**63) <= value < 2**63:
            return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            # JSON has one kind of number: 2.0 arrives at the API server as 2.
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return None


def _integer(sign: str, digits: str) -> int:
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = "0o" + digits[1:]
    return int(sign + digits, 0)
