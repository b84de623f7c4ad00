"""pydantic → structural schema: what the API server must find, and must never find."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.meta import Condition, Matches, Model, Rule, list_map
from luthier_api.structural import Schema, rules_of, structural_schema


class Inner(Model):
    """The inner one."""

    size: int = Field(default=1, gt=0, description="A size.")

    rules = (Rule("self.size < 9", "too much", field=".size"),)


class Outer(Inner):
    """The outer one."""

    inner: Inner = Field(default=Inner(size=2), description="Of the field.")
    maybe: Inner | None = Field(default=None, description="Perhaps.")
    word: Annotated[str, Field(max_length=3), Matches("^a", "begin with a")]
    only: Literal["one"] = "one"
    table: dict[str, float] = Field(default={}, max_length=4)
    conditions: list[Condition] = Field(default=[], json_schema_extra=list_map("type"))
    names: list[str] = ["x"]

    rules = (Rule("true", "never"),)


@pytest.fixture
def outer() -> Schema:
    return structural_schema(Outer)


def test_references_are_inlined_and_the_field_describes_itself(outer: Schema) -> None:
    inner = outer["properties"]["inner"]
    assert inner["description"] == "Of the field."
    assert inner["properties"]["size"]["description"] == "A size."
    assert inner["default"] == {"size": 2}


def test_optional_is_a_field_that_may_be_left_out(outer: Schema) -> None:
    maybe = outer["properties"]["maybe"]
    assert maybe["type"] == "object"
    assert "default" not in maybe
    assert outer["required"] == ["word"]


def test_exclusive_bounds_are_spelt_as_in_openapi_3_0(outer: Schema) -> None:
    size = outer["properties"]["size"]
    assert (size["minimum"], size["exclusiveMinimum"]) == (0, True)
    assert size["format"] == "int64"


def test_const_is_an_enum_of_one(outer: Schema) -> None:
    assert outer["properties"]["only"]["enum"] == ["one"]


def test_maps_and_lists(outer: Schema) -> None:
    table, conditions, names = (outer["properties"][n] for n in ("table", "conditions", "names"))
    assert table["additionalProperties"] == {"type": "number"}
    assert table["maxProperties"] == 4
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert names["x-kubernetes-list-type"] == "atomic"


def test_rules_of_bases_come_first_and_none_is_lost(outer: Schema) -> None:
    assert [rule.message for rule in rules_of(Outer)] == ["too much", "never"]
    assert outer["x-kubernetes-validations"] == [
        {"rule": "self.size < 9", "message": "too much", "fieldPath": ".size"},
        {"rule": "true", "message": "never"},
    ]


def test_a_pattern_speaks_with_one_voice(outer: Schema) -> None:
    assert outer["properties"]["word"]["x-kubernetes-validations"] == [
        {"rule": "self.matches(r'^a')", "message": "begin with a"}
    ]
    assert "pattern" not in outer["properties"]["word"]
    assert Outer.model_json_schema()["properties"]["word"]["pattern"] == "^a"
    with pytest.raises(ValueError, match="begin with a"):
        Outer(word="b")


def test_no_defaults_where_none_are_wanted() -> None:
    schema = structural_schema(Outer, defaults=False)
    assert not [path for path, node in _nodes(schema, "") if "default" in node]


def test_a_union_is_refused() -> None:
    class Either(Model):
        """Two types."""

        value: int | str

    with pytest.raises(ValueError, match=r"Either\.value: a structural schema has no union"):
        structural_schema(Either)


def test_an_unknown_keyword_is_refused() -> None:
    class Odd(Model):
        """A keyword that structural schemas don't have."""

        value: int = Field(multiple_of=2)

    with pytest.raises(ValueError, match=r"Odd\.value: .* multipleOf"):
        structural_schema(Odd)


def test_a_number_or_one_word_is_the_union_that_there_is() -> None:
    class Size(Model):
        """A number, or auto."""

        value: Annotated[int, Field(ge=1, le=9)] | Literal["auto"] = Field(
            default=3, description="A size."
        )

    node = structural_schema(Size)["properties"]["value"]
    assert node == {
        "description": "A size.",
        "default": 3,
        "x-kubernetes-int-or-string": True,
        "x-kubernetes-validations": [
            {
                "rule": "type(self) == int ? self >= 1 && self <= 9 : self == 'auto'",
                "message": "write a number from 1 to 9, or auto",
            }
        ],
    }


_INT_OR_WORD = (
    r"type\(self\) == int \? self >= \d+ && self <= \d+ : self == '[a-z]+'"  # both are bounded
)


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_everything_of_a_spec_is_bounded_and_described(resource: Any) -> None:
    """Bounds keep CEL's cost within the API server's budget, and objects below etcd's limit."""
    limit = {"string": ("maxLength", "enum"), "array": ("maxItems",)}
    for part in ("spec", "status"):
        for path, node in _nodes(resource.schema()["properties"][part], part):
            if node.get("x-kubernetes-preserve-unknown-fields"):
                # A number in a range, or a word; the bounds of all else can hold nothing.
                assert {"minimum", "maximum", "pattern", "maxLength", "not"} <= node.keys(), path
                assert node["maxItems"] < node["minItems"], path
                assert node["maxProperties"] < node["minProperties"], path
                continue
            if node.get("x-kubernetes-int-or-string"):
                # Its rule is its bound: a number in a range, or one word.
                assert "type" not in node, path
                (rule,) = node["x-kubernetes-validations"]
                assert re.fullmatch(_INT_OR_WORD, rule["rule"]), path
                continue
            bounds = limit.get(node["type"], ())
            if "additionalProperties" in node:
                bounds = ("maxProperties",)
            assert not bounds or any(bound in node for bound in bounds), f"{path} has no bound"


def test_every_rule_points_at_a_field_that_exists() -> None:
    for resource in CUSTOM_RESOURCES:
        for path, node in _nodes(resource.schema(), resource.kind):
            for rule in node.get("x-kubernetes-validations", ()):
                target = node
                for name in filter(None, rule.get("fieldPath", "").split(".")):
                    assert name in target["properties"], f"{path}: {rule}"
                    target = target["properties"][name]


def _nodes(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """A schema and all schemas below it."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if key in node:
            yield from _nodes(node[key], path + mark)
