"""Check a manifest without a cluster: the API's own models, then its CEL rules.

The verdict is that of the API server, as far as the schema goes. What only a
cluster knows (namespaces, quotas, admission policies) isn't looked at.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from luthier_api import API_VERSION, GROUP
from luthier_api.customresources import NAME_RULES
from luthier_api.meta import Model
from luthier_cli.findings import Finding, field_name
from luthier_cli.kinds import KINDS, Kind
from luthier_cli.yaml import Document, Path

_TOP_LEVEL = {"apiVersion", "kind", "metadata", "spec", "status"}

_Problem = tuple[Path, str, str]


def is_ours(value: Any) -> bool:
    """Whether a document is a resource of the group luthier.dev."""
    return isinstance(value, dict) and str(value.get("apiVersion", "")).split("/")[0] == GROUP


def check_document(document: Document, file: str) -> list[Finding]:
    """All that is wrong with a resource of ours, by line. CEL rules once the fields are right."""
    return [
        Finding(file, document.line(path), field_name(path), message, remedy)
        for path, message, remedy in sorted(
            _problems(document.value), key=lambda problem: document.line(problem[0])
        )
    ]


def kind_of(value: dict[str, Any]) -> Kind | None:
    """The kind of a resource of ours, if this API version has it."""
    return KINDS.get(str(value.get("kind"))) if value["apiVersion"] == API_VERSION else None


def _problems(value: dict[str, Any]) -> Iterator[_Problem]:
    kind = kind_of(value)
    if value["apiVersion"] != API_VERSION:
        yield ("apiVersion",), f"unknown version {value['apiVersion']!r}", f"use {API_VERSION}"
        return
    if kind is None:
        yield ("kind",), f"no kind {value.get('kind')!r} in {GROUP}", f"use {', '.join(KINDS)}"
        return
    for name in value.keys() - _TOP_LEVEL:
        yield (name,), "unknown field", _did_you_mean(name, _TOP_LEVEL)
    yield from _metadata_problems(value.get("metadata"))
    yield from _spec_problems(kind, value.get("spec"))


def _metadata_problems(metadata: Any) -> Iterator[_Problem]:
    path = ("metadata", "name")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        yield path, "required", "give the resource a name"
    elif (name := metadata.get("name")) and not isinstance(name, str):
        yield path, f"must be a string, not {name!r}", "quote it"
    elif name:
        from luthier_cli.rules import holds

        for rule in NAME_RULES:
            if not holds(rule.cel, {"metadata": {"name": name}}):
                yield path, rule.message, ""


def _spec_problems(kind: Kind, spec: Any) -> Iterator[_Problem]:
    try:
        model = parse_spec(kind, spec)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield _explain(kind, detail)
        return
    from luthier_cli.rules import broken_rules

    for path, message in broken_rules(model):
        yield ("spec", *path), message, ""


def parse_spec(kind: Kind, spec: Any) -> Model:
    """Read a spec as the API server would: no coercion, nulls dropped. Raises ValidationError."""
    return kind.spec_model().model_validate(_without_nulls(spec), strict=True)


def _without_nulls(value: Any) -> Any:
    """The API server drops nulls of fields that can't be null, and none of ours can."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _explain(kind: Kind, detail: ErrorDetails) -> _Problem:
    """A pydantic error in the words of this API."""
    path: Path = ("spec", *detail["loc"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return path, "unknown field", remedy_for_unknown(kind, path)
        case "missing":
            return path, "required", "set this field"
        case "literal_error":
            return path, f"{detail['input']!r} isn't a choice here", f"use {context['expected']}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return path, f"{detail['input']!r} isn't a mapping", "write fields below it"
        case "luthier_pattern":
            return path, detail["msg"], ""
        case _:
            got = f", not {detail['input']!r}" if isinstance(detail["input"], str | int) else ""
            return path, detail["msg"].replace("Input should", "must", 1) + got, ""


def remedy_for_unknown(kind: Kind, path: Path) -> str:
    """The field that was probably meant by the one at `path`, or those that there are."""
    if path[:1] != ("spec",) or len(path) < 2:
        return _did_you_mean(str(path[-1]), _TOP_LEVEL) if path else "remove it"
    return _did_you_mean(str(path[-1]), _fields_at(kind.spec_model(), path[1:-1]))


def _fields_at(model: type[BaseModel], path: Path) -> set[str]:
    """Names of the fields of the model at `path`."""
    for part in path:
        field = next((f for n, f in model.model_fields.items() if part in (f.alias, n)), None)
        inner = list(_model_types(field.annotation)) if field else []
        if not inner:
            return set()
        model = inner[0]
    return {field.alias or name for name, field in model.model_fields.items()}


def _model_types(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _model_types(argument)


def _did_you_mean(name: str, choices: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(choices), n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"the fields here are: {', '.join(sorted(choices))}" if choices else "remove it"
