"""Which result of a FineTuneJob is in use."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.meta import Matches, Model, Rule

_METRIC = r"^[a-z][A-Za-z0-9_.@-]*$"
_NAMED_SO = "a metric is named as the run reports it, e.g. accuracy, eval_loss or script_score"
MetricName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Matches(
        _METRIC,
        _NAMED_SO,
    ),
]
RevisionName = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Matches(
        r"^r[1-9][0-9]{0,8}-[0-9a-z]{1,32}$",
        "a revision is named as status and `luthier history` show it, e.g. r2-5f2c1e9a",
    ),
]


class Promote(Model):
    """Which result is in use."""

    when: Literal["Always", "IfBetter", "Manual"] = Field(
        default="Always",
        description="Always: the newest result. IfBetter: a newer one that is proven better on "
        "the same rows. Manual: only what pin names.",
    )
    metric: MetricName | None = Field(
        default=None,
        description="Metric that decides, one of evaluation.metrics, or script_*. Left out: the "
        "first of the task's own.",
    )
    min_gain: float = Field(
        default=0.0,
        ge=0,
        description="By how much a newer result must be better: the lower end of the 95 % "
        "interval of the gain must be above it.",
    )
    tolerance: float = Field(
        default=0.0,
        ge=0,
        description="By how much a newer result may be worse and still be taken: the lower end of "
        "the interval must be above minus this.",
    )
    at_least: dict[str, float] = Field(
        default={},
        max_length=16,
        description="What a metric must reach at least (of losses: at most), for the first result, "
        "too.",
    )
    pin: RevisionName | None = Field(
        default=None, description="The revision that is in use, whatever is newer: a rollback."
    )

    rules = (
        Rule(
            "self.minGain == 0.0 || self.tolerance == 0.0",
            "minGain asks for better and tolerance allows worse: set one of them",
            field=".tolerance",
        ),
        Rule(
            "self.when == 'IfBetter' || (self.minGain == 0.0 && self.tolerance == 0.0)",
            "minGain and tolerance compare a result with the one in use: set when to IfBetter",
            field=".when",
        ),
        Rule(
            f"self.atLeast.all(name, name.matches(r'{_METRIC}'))",
            _NAMED_SO,
            field=".atLeast",
        ),
    )


def is_newest_in_use(promote: Promote | None) -> bool:
    """Whether a result is in use as soon as it is published, whatever was measured of it."""
    return promote is None or (
        promote.when == "Always" and promote.pin is None and not promote.at_least
    )
