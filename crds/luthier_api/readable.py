"""What can be read of a document that a program of another version wrote.

A value that this version doesn't know, such as a new choice of an enumeration, costs the field
that holds it, and no more than that.
"""

from collections.abc import Collection
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from luthier_api.meta import Model

ModelT = TypeVar("ModelT", bound=Model)
Path = tuple[int | str, ...]


def readable_part(model: type[ModelT], document: Any) -> ModelT:
    """The document, without what can't be read of it.

    Left out is the smallest part around an error whose absence says just that it wasn't told: a
    field that is empty by default, an item of a list, an entry of a map. Raises
    pydantic.ValidationError where there is none: a default that is a value would be a made-up one.
    """
    while True:
        try:
            return model.read(document)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            parts = {_around(model, document, it["loc"]) for it in wrong}
            if () in parts:
                raise
            document = _without(document, parts)


def readable_part_json(model: type[ModelT], text: str | bytes) -> ModelT:
    """As `readable_part`, of JSON. Raises ValueError, which pydantic's error is, too."""
    data = text.encode() if isinstance(text, str) else text
    try:
        return model.read_json(data)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise
    return readable_part(model, from_json(data))


def _around(model: type[Model], document: Any, place: Path) -> Path:
    """The path of the smallest part around `place` that may be left out; () for none."""
    found: Path = ()
    kind, value = model, document
    for depth, part in enumerate(place, 1):
        # A place goes on below what is there: a missing field, a member of a union.
        if not _has(value, part):
            break
        if isinstance(kind, type) and issubclass(kind, Model):
            field = _field(kind, part)
            if field is None:
                break
            may_go, kind = _is_empty_by_default(field), _bare(field.annotation)
        elif get_origin(kind) in (list, dict):
            may_go, kind = True, _bare(get_args(kind)[-1])
        else:
            break
        if may_go:
            found = place[:depth]
        value = value[part]
    return found


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _field(model: type[Model], part: int | str) -> FieldInfo | None:
    named = model.model_fields.items()
    return next((field for name, field in named if part in (field.alias, name)), None)


def _is_empty_by_default(field: FieldInfo) -> bool:
    return field.default is None or field.default in ([], {})


def _bare(annotation: Any) -> Any:
    """A type without bounds and None; None where several are left."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [it for it in get_args(annotation) if it is not NoneType]
        return _bare(members[0]) if len(members) == 1 else None
    return annotation


def _without(value: Any, parts: Collection[Path]) -> Any:
    """A copy without the parts at these paths; what is on none of them is shared."""
    gone = {path[0] for path in parts if len(path) == 1}
    below: dict[int | str, set[Path]] = {}
    for path in parts:
        if len(path) > 1:
            below.setdefault(path[0], set()).add(path[1:])
    if isinstance(value, dict):
        kept = ((key, it) for key, it in value.items() if key not in gone)
        return {key: _without(it, below[key]) if key in below else it for key, it in kept}
    listed = ((index, it) for index, it in enumerate(value) if index not in gone)
    return [_without(it, below[index]) if index in below else it for index, it in listed]
