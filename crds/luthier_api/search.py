"""More than one run: search over hyper-parameters, training anew, and which result is in use.

The schema is settled, so that manifests can be written against it; a rule of FineTuneJobSpec
refuses them until they are built.
"""

from typing import Literal

from pydantic import Field

from luthier_api.meta import Model, Rule


class Objective(Model):
    """What a search looks for."""

    metric: str = Field(min_length=1, max_length=64, description="Metric on `eval`.")
    direction: Literal["maximize", "minimize"] = Field(
        default="maximize", description="Which way is better."
    )


class SearchParameter(Model):
    """The values that one parameter may take."""

    type: Literal["float", "int", "choice"] = Field(description="Kind of the parameter.")
    low: float | None = Field(default=None, description="Smallest value of float and int.")
    high: float | None = Field(default=None, description="Largest value of float and int.")
    log: bool = Field(default=False, description="Draw from the logarithm.")
    values: list[float] | None = Field(
        default=None, min_length=1, max_length=64, description="The values of choice."
    )

    rules = (
        Rule(
            "self.type != 'choice' || (has(self.values) && !has(self.low) && !has(self.high))",
            "choice takes values, and neither low nor high",
        ),
        Rule(
            "self.type == 'choice' || (has(self.low) && has(self.high) && !has(self.values) && "
            "self.low < self.high)",
            "float and int take low and high, low below high, and no values",
        ),
        Rule(
            "!self.log || (has(self.low) && self.low > 0.0)",
            "the logarithm needs a range above 0: set low above 0",
            field=".log",
        ),
    )


class Search(Model):
    """Hyper-parameter search."""

    strategy: Literal["random", "tpe", "grid"] = Field(
        default="random", description="How values are drawn."
    )
    trials: int = Field(default=10, ge=1, le=1000, description="Runs in all.")
    parallelism: int = Field(default=1, ge=1, le=100, description="Runs at a time.")
    objective: Objective = Field(description="What makes one run better than another.")
    space: dict[str, SearchParameter] = Field(
        min_length=1, max_length=32, description="Parameters by their path, e.g. lora.rank."
    )


class Retrain(Model):
    """Train anew when the data changed."""

    schedule: str = Field(min_length=9, max_length=128, description="When to look, as cron.")
    when: Literal["DatasetChanged"] = Field(default="DatasetChanged", description="When to train.")


class Promote(Model):
    """Which result is the one in use."""

    when: Literal["Always", "IfBetter"] = Field(
        default="Always",
        description="Always: the latest result. IfBetter: only one that is no worse.",
    )
    metric: str | None = Field(default=None, max_length=64, description="Metric on `eval`.")
    tolerance: float = Field(default=0.0, ge=0, description="How much worse still counts.")
