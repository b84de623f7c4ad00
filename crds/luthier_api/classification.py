"""How classes are learnt by a head of their own."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.meta import Model, Rule

Weight = Annotated[float, Field(gt=0, le=10_000)]


class Classification(Model):
    """What the loss makes of classes of uneven size."""

    class_weights: Literal["Equal", "Balanced"] = Field(
        default="Equal",
        description="How much a row counts. Equal: all alike. Balanced: by its class's rarity, "
        "so that all classes count alike.",
    )
    weights: dict[str, Weight] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Instead: how much a row of each class counts. Classes left out: 1.",
    )
    focal_gamma: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Focal loss: a row counts less, the surer its class is predicted "
        "(https://arxiv.org/abs/1708.02002); 2 is the authors' choice, 0 the plain loss.",
    )

    rules = (
        Rule(
            "!has(self.weights) || self.classWeights == 'Equal'",
            "the weights are either counted (classWeights Balanced) or given: keep one",
            field=".weights",
        ),
    )
