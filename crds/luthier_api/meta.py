"""What every model of the API builds on."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Rule:
    """A CEL rule of a schema node, evaluated by the API server at apply.

    `self` is the node that holds the rule. `field` is the path below it that
    the error is reported at, e.g. ".evalFraction".
    """

    cel: str
    message: str
    field: str | None = None


class Model(BaseModel):
    """camelCase in JSON, snake_case in Python; unknown fields are an error."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready dict: camelCase, without what is unset (None)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


# A DNS label: names of objects within a namespace that end up in other names.
Name = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
# A DNS subdomain: names of Secrets, ConfigMaps, service accounts.
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
]
# The key of a Secret or ConfigMap.
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
# A column of a dataset, as a template names it.
Column = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
# A choice that the trainer makes unless told.
AutoAlwaysNever = Literal["Auto", "Always", "Never"]


class SecretKeyRef(Model):
    """A key of a Secret in the resource's own namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key within the Secret.")


class ConfigMapKeyRef(Model):
    """A key of a ConfigMap in the resource's own namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="Key within the ConfigMap.")


class CodeRef(Model):
    """A function or class of the user's own, in a ConfigMap."""

    config_map_ref: ConfigMapKeyRef = Field(description="Where the code is.")
    entrypoint: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the function or class.",
    )


class Condition(Model):
    """A condition with the semantics of metav1.Condition."""

    type: str = Field(max_length=316, description="Name of the condition, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(
        default=0, ge=0, description="The generation of the spec that it was computed from."
    )
    last_transition_time: str = Field(description="When `status` last changed (RFC 3339).")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="The cause, in CamelCase, for programs.",
    )
    message: str = Field(default="", max_length=32768, description="The cause, for people.")
