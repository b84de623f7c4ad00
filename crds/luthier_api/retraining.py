"""Training anew when the data has changed."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.bounds import Count
from luthier_api.meta import Matches, Model, Rule

# Five fields; what no calendar has (30 February) is told by the operator, and by luthier validate.
_CRON = r"^\S+ +\S+ +\S+ +\S+ +\S+$"

Schedule = Annotated[
    str,
    Field(min_length=9, max_length=128),
    Matches(
        _CRON,
        "a schedule has the five fields of cron (minute, hour, day of the month, month, day of the "
        'week), e.g. "0 3 * * *"',
    ),
]
TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Matches(
        r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$",
        "a time zone is named as in the tz database, e.g. Europe/Vienna",
    ),
]


class Retrain(Model):
    """When to look whether the data has changed, and what then."""

    schedule: Schedule | None = Field(
        default=None,
        description='When to look, as cron with five fields, e.g. "0 3 * * *". Left out: when '
        "asked (`luthier retrain`, annotation luthier.dev/retrain).",
    )
    time_zone: TimeZone = Field(
        default="UTC", description="Time zone of the schedule, e.g. Europe/Vienna."
    )
    when: Literal["DatasetChanged", "Always"] = Field(
        default="DatasetChanged",
        description="DatasetChanged: train when a look finds other data. Always: at each time of "
        "the schedule.",
    )
    start_from: Literal["Base", "InUse"] = Field(
        default="Base",
        description="Base: train anew on the base model. InUse: go on from the result in use.",
    )
    min_new_rows: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Train only when there are so many new or changed rows.",
    )
    min_new_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Train only when so large a part of the last revision's rows is new or "
        "changed.",
    )

    rules = (
        Rule(
            "!has(self.minNewRows) || !has(self.minNewFraction)",
            "minNewRows and minNewFraction say the same: set one of them",
            field=".minNewFraction",
        ),
        Rule(
            "self.when == 'DatasetChanged' || (!has(self.minNewRows) && !has(self.minNewFraction))",
            "Always trains whatever is new: remove minNewRows and minNewFraction, or set when to "
            "DatasetChanged",
            field=".when",
        ),
        Rule(
            "self.when != 'Always' || has(self.schedule)",
            "Always trains at each time of a schedule: set schedule",
            field=".schedule",
        ),
    )


class RowChanges(Model):
    """The rows of the data that a look found, beside those of the last revision."""

    total: Count = Field(default=0, description="Rows that there are now.")
    new: Count = Field(default=0, description="Rows that weren't there, changed ones among them.")
    gone: Count = Field(default=0, description="Rows that are there no more.")


class RetrainStatus(Model):
    """What the looks at the data found."""

    last_probe: str | None = Field(
        default=None, max_length=32, description="When the data was last looked at (RFC 3339)."
    )
    last_change: str | None = Field(
        default=None, max_length=32, description="When a look last found other data."
    )
    next_probe: str | None = Field(
        default=None, max_length=32, description="When it will be looked at next."
    )
    slot: str | None = Field(
        default=None, max_length=32, description="Time of the schedule that is served."
    )
    token: str | None = Field(
        default=None, max_length=256, description="Value of luthier.dev/retrain that is served."
    )
    against: str | None = Field(
        default=None, max_length=64, description="The revision that the last look compared with."
    )
    outcome: Literal["Unchanged", "Changed", "TooFewNew", "Failed"] | None = Field(
        default=None, description="What the last look came to."
    )
    dataset_digest: str | None = Field(
        default=None, max_length=80, description="sha256 of the data that the last look found."
    )
    rows: RowChanges | None = Field(default=None, description="Rows that are new, or gone.")
    message: str | None = Field(
        default=None, max_length=1024, description="The same for people, or why a look failed."
    )
