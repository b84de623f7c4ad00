"""pydantic model → the structural OpenAPI v3 schema of a CustomResourceDefinition.

Structural schemas (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
custom-resource-definitions/#specifying-a-structural-schema) know no `$ref`, no `anyOf`
that adds properties, no `const`, and spell exclusive bounds as OpenAPI 3.0 does.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from luthier_api.meta import Model, Rule

Schema = dict[str, Any]

# What a converted node may carry, in the order in which it is written.
_KEPT = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "not",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
_DROPPED = ("title", "$defs")
_REFERENCE = "#/$defs/"
_NULL = {"type": "null"}


def structural_schema(model: type[Model], *, defaults: bool = True) -> Schema:
    """The schema of `model`, ready for `openAPIV3Schema.properties`.

    The default of an object is written out in full: the API server checks the CEL
    rules of a default before it fills in what is below, so `{}` would not do.
    `defaults=False` leaves out all of them (a status holds what was observed). Lists
    are atomic unless a field's `json_schema_extra` says otherwise: server-side apply
    would merge a set with its own default. Raises ValueError for what a structural
    schema can't say.
    """
    document = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    schema = _convert(document, document.get("$defs", {}), model.__name__)
    return schema if defaults else _without_defaults(schema)


def rules_of(model: type[BaseModel]) -> tuple[Rule, ...]:
    """The rules of a model and of all its bases, the bases' first."""
    return tuple(rule for base in reversed(model.__mro__) for rule in vars(base).get("rules", ()))


class _Generator(GenerateJsonSchema):
    """Adds the CEL rules, and leaves unset fields out of the defaults of nested models."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        document = super().model_schema(schema)
        if rules := rules_of(schema["cls"]):
            document["x-kubernetes-validations"] = [validation(rule) for rule in rules]
        return document

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_none=True)
        return super().encode_default(dft)


def validation(rule: Rule) -> dict[str, str]:
    """A rule as an item of `x-kubernetes-validations`."""
    place = {"fieldPath": rule.field} if rule.field else {}
    return {"rule": rule.cel, "message": rule.message, **place}


def _convert(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """One node, and all below it, without references and unions."""
    node = _resolve(node, definitions, path)
    node = _spell(node)
    if unknown := set(node) - {*_KEPT, *_DROPPED, "properties", "items", "additionalProperties"}:
        raise ValueError(f"{path}: a structural schema has no {', '.join(sorted(unknown))}")
    schema = {key: node[key] for key in _KEPT if key in node}
    if "properties" in node:
        schema["properties"] = {
            name: _convert(child, definitions, f"{path}.{name}")
            for name, child in node["properties"].items()
        }
    if "items" in node:
        schema["items"] = _convert(node["items"], definitions, f"{path}[]")
        schema.setdefault("x-kubernetes-list-type", "atomic")
    if node.get("additionalProperties"):
        schema["additionalProperties"] = _convert(
            node["additionalProperties"], definitions, f"{path}.*"
        )
    return schema


def _resolve(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """Put what a reference or an optional stands for in its place; the node's own words win."""
    while "$ref" in node or "anyOf" in node:
        own = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
        if "$ref" in node:
            target = definitions[node["$ref"].removeprefix(_REFERENCE)]
        else:
            choices = [choice for choice in node["anyOf"] if choice != _NULL]
            chosen = choices[0] if len(choices) == 1 else _int_or_word(choices)
            if chosen is None:
                raise ValueError(f"{path}: a structural schema has no union of {choices}")
            target = chosen
        node = {**target, **own}
    return node


def _int_or_word(choices: list[Schema]) -> Schema | None:
    """A bounded integer or one word, as the one union that structural schemas have."""
    if len(choices) != 2:
        return None
    number, word = sorted(choices, key=lambda choice: choice.get("type") != "integer")
    if number.get("type") != "integer" or "const" not in word:
        return None
    low, high = number["minimum"], number["maximum"]
    return {
        "x-kubernetes-int-or-string": True,
        "x-kubernetes-validations": [
            {
                "rule": f"type(self) == int ? self >= {low} && self <= {high} : "
                f"self == '{word['const']}'",
                "message": f"write a number from {low} to {high}, or {word['const']}",
            }
        ],
    }


def _spell(node: Schema) -> Schema:
    """JSON Schema's words in OpenAPI 3.0's."""
    node = dict(node)
    if "default" in node and node["default"] is None:
        del node["default"]
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if "x-kubernetes-validations" in node:
        node.pop("pattern", None)  # a rule says the same, in words (meta.Matches)
    if node.get("type") == "integer":
        node["format"] = "int64"
    for bound in ("Minimum", "Maximum"):
        if (limit := node.pop(f"exclusive{bound}", None)) is not None:
            node[bound.lower()] = limit
            node[f"exclusive{bound}"] = True
    return node


def _without_defaults(node: Schema) -> Schema:
    """The same schema, with no default at any depth."""
    schema = {key: value for key, value in node.items() if key != "default"}
    if "properties" in schema:
        schema["properties"] = {
            name: _without_defaults(child) for name, child in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in schema:
            schema[key] = _without_defaults(schema[key])
    return schema
