"""The API's CEL rules without an API server: the Rust implementation of CEL, by `cel`.

Import it where rules are evaluated: loading the library takes half a second.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from cel.cel import Context, evaluate
from pydantic.fields import FieldInfo

from luthier_api.meta import Model, search
from luthier_api.structural import rules_of
from luthier_cli.errors import CliError
from luthier_cli.yaml import Path


def holds(rule: str, this: Mapping[str, Any]) -> bool:
    """Whether a rule holds of `self`. Raises CliError where it can't be evaluated."""
    context = Context()
    context.add_function("find", _find)
    context.add_variable("self", this)
    try:
        return evaluate(rule, context) is True
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CliError(
            f"the rule {rule!r} can't be evaluated here: {error}",
            "check against a cluster instead, without --offline",
        ) from error


def _find(text: str, pattern: str) -> str:
    """Kubernetes' own addition to CEL: the first match, or an empty string."""
    with warnings.catch_warnings():
        # RE2 has no nested sets: "[[" means there what Python warns that it may not.
        warnings.simplefilter("ignore", FutureWarning)
        match = search(pattern, text)
    return match.group() if match else ""


def broken_rules(model: Model, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The rules of a model, and of those within, that don't hold: field and message."""
    this = model.to_json()
    for rule in rules_of(type(model)):
        if not holds(rule.cel, this):
            field = rule.field.lstrip(".").split(".") if rule.field else []
            yield (*path, *field), rule.message
    for name, info in type(model).model_fields.items():
        field_path = (*path, info.alias or name)
        for index, key in _duplicates(info, this.get(info.alias or name)):
            yield (*field_path, index), f"the {key} is taken by an item before: name each once"
        for below, child in _models(getattr(model, name)):
            yield from broken_rules(child, (*field_path, *below))


def _duplicates(field: FieldInfo, items: Any) -> Iterator[tuple[int, str]]:
    """Items of a list of the type map whose key was there before."""
    extra = field.json_schema_extra
    keys = extra.get("x-kubernetes-list-map-keys") if isinstance(extra, dict) else None
    if not isinstance(keys, list) or not isinstance(items, list):
        return
    seen = set()
    for index, item in enumerate(items):
        value = tuple(item.get(key) for key in keys)
        if value in seen:
            yield index, " and ".join(str(key) for key in keys)
        seen.add(value)


def _models(value: Any) -> Iterator[tuple[Path, Model]]:
    if isinstance(value, Model):
        yield (), value
    elif isinstance(value, list | dict):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            for below, model in _models(item):
                yield (key, *below), model
