"""What every model of the API builds on."""

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Rule:
    """A CEL rule of a schema node, evaluated by the API server at apply.

    `self` is the node that holds the rule. `field` is the path below it that
    the error is reported at, e.g. ".evalFraction".
    """

    cel: str
    message: str
    field: str | None = None


def search(pattern: str, text: str) -> re.Match[str] | None:
    """The first match, as RE2 finds it: to Python, `$` is before a last line break, too."""
    return _as_re2(pattern).search(text)


# An escaped character, a class (in which `$` is a dollar), or the `$` that is an end.
_END = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)


@cache
def _as_re2(pattern: str) -> re.Pattern[str]:
    return re.compile(_END.sub(lambda it: r"\Z" if it[0] == "$" else it[0], pattern))


@dataclass(frozen=True)
class Matches:
    """Annotates a string with a pattern (RE2) whose error says what is wanted.

    The message is the same from pydantic and from the API server, which would else
    answer with the bare pattern. `unwanted` turns it round: the pattern must not occur.
    """

    pattern: str
    message: str
    unwanted: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        document = handler(schema)
        if not self.unwanted:
            document.setdefault("pattern", self.pattern)
        negation = "!" if self.unwanted else ""
        rule = {"rule": f"{negation}self.matches(r'{self.pattern}')", "message": self.message}
        document["x-kubernetes-validations"] = [
            *document.get("x-kubernetes-validations", ()),
            rule,
        ]
        return document

    def _check(self, value: str) -> str:
        if bool(search(self.pattern, value)) is self.unwanted:
            raise PydanticCustomError("luthier_pattern", "{message}", {"message": self.message})
        return value


@dataclass(frozen=True)
class NumberOr:
    """Annotates a number that may also be one word.

    Structural schemas have a union for integers alone (int-or-string): of this the API server
    checks bounds and word, and no CEL rule can read it. What is neither number nor text has bounds
    that nothing fits.
    """

    word: str
    above: float
    most: float

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            self._read,
            core_schema.float_schema(gt=self.above, le=self.most),
            serialization=core_schema.simple_ser_schema("any"),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "x-kubernetes-preserve-unknown-fields": True,
            "exclusiveMinimum": self.above,
            "maximum": self.most,
            "pattern": f"^{self.word}$",
            "maxLength": len(self.word),
            "minItems": 1,
            "maxItems": 0,
            "minProperties": 1,
            "maxProperties": 0,
            "not": {"enum": [True, False]},
        }

    def _read(self, value: Any, read_number: core_schema.ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, bool):  # it would count as 1
            raise PydanticCustomError("float_type", "Input should be a valid number")
        return value if value == self.word else read_number(value)


class Model(BaseModel):
    """camelCase in JSON, snake_case in Python.

    Unknown fields are an error to people, who may have misspelt one; a program that reads what
    another wrote, maybe of a newer version, uses `read`, which ignores them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def read(cls, document: Any) -> Self:
        """What a program wrote: fields that this version doesn't know are ignored, at any depth.

        Raises pydantic.ValidationError.
        """
        return cls.model_validate(document, extra="ignore")

    @classmethod
    def read_json(cls, text: str | bytes) -> Self:
        """As `read`, of JSON."""
        return cls.model_validate_json(text, extra="ignore")

    def to_json(self, *, sparse: bool = False) -> dict[str, Any]:
        """As JSON-ready dict: camelCase, without what is unset (None) or no number (NaN, ∞).

        JSON has no NaN: the loss of a diverged run would make its whole status unwritable.
        `sparse`: without what equals its default, too, so that a reader of an older version is
        told of a newer field only where it is used.
        """
        document: dict[str, Any] = _finite(
            self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=sparse)
        )
        return document


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items() if _is_finite(item)}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


ModelT = TypeVar("ModelT", bound=Model)


def part_of(whole: Model, part: type[ModelT]) -> ModelT:
    """The fields of `part`, all of which `whole` has too."""
    return part(**{name: getattr(whole, name) for name in part.model_fields})


def first_error(error: ValidationError) -> tuple[str, str]:
    """(the first wrong field, by its path; what is wrong with it). Never shows the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]


def list_map(key: str) -> dict[str, Any]:
    """`json_schema_extra` of a list whose items are told apart by `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


# A DNS label: names of objects within a namespace that end up in other names.
Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Matches(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "a name holds a-z, 0-9 and - only, with a letter or digit at both ends",
    ),
]
# A DNS subdomain: names of Secrets, ConfigMaps, service accounts.
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(
        r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
        "a name holds a-z, 0-9, - and . only, with a letter or digit at both ends",
    ),
]
# The key of a Secret or ConfigMap.
DataKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(r"^[-._a-zA-Z0-9]+$", "a key holds A-Z, a-z, 0-9, -, _ and . only"),
    Matches(r"^([.]$|[.][.])", "a key is neither . nor begins with ..: rename it", unwanted=True),
]
# A column of a dataset, whatever people call them.
Column = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Matches(
        r"^[^\x00-\x1f\x7f]+$",
        "a column's name has no line ends, tabs or other control characters: rename the column in "
        "the dataset",
    ),
]
# A choice that the trainer makes unless told.
AutoAlwaysNever = Literal["Auto", "Always", "Never"]


class ObjectRef(Model):
    """An object of the resource's own namespace."""

    name: Name = Field(description="Its name.")


class SecretKeyRef(Model):
    """A key of a Secret in the resource's own namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key within the Secret.")


class ConfigMapKeyRef(Model):
    """A key of a ConfigMap in the resource's own namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="Key within the ConfigMap.")


Identifier = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Matches(r"^[A-Za-z_][A-Za-z0-9_]*$", "give the plain Python name of a function or class"),
]


class CodeRef(Model):
    """A function or class of the user's own, in a ConfigMap."""

    config_map_ref: ConfigMapKeyRef = Field(description="Where the code is.")
    entrypoint: Identifier = Field(description="Name of the function or class.")


class Condition(Model):
    """A condition with the semantics of metav1.Condition."""

    type: str = Field(max_length=316, description="Name of the condition, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(
        default=0, ge=0, description="The generation of the spec that it was computed from."
    )
    last_transition_time: str = Field(
        max_length=32, description="When `status` last changed (RFC 3339)."
    )
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="The cause, in CamelCase, for programs.",
    )
    message: str = Field(default="", max_length=32768, description="The cause, for people.")
