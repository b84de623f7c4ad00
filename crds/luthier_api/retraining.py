"""Training anew when the data has changed."""

from typing import Annotated, Literal

from pydantic import Field

from luthier_api.bounds import Count
from luthier_api.meta import Matches, Model, Rule
from luthier_api.optimizejob import SourceRef

# Each field is a list of: all (*), a number or a range, and of these every nth. The operator and
# `luthier validate` tell of a range that runs backwards, and of what no calendar has (30 February).
_STEP = r"(/[1-9][0-9]?)?"


def _list_of(value: str) -> str:
    item = rf"([*]|{value}(-{value})?){_STEP}"
    return f"{item}(,{item})*"


_MINUTE = _list_of("[0-5]?[0-9]")
_HOUR = _list_of("([01]?[0-9]|2[0-3])")
_DAY = _list_of("(0?[1-9]|[12][0-9]|3[01])")
_MONTH = _list_of("(0?[1-9]|1[0-2]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))")
_WEEKDAY = _list_of("([0-7]|(?i:sun|mon|tue|wed|thu|fri|sat))")

Schedule = Annotated[
    str,
    Field(min_length=9, max_length=128),
    Matches(
        r"^\S+ +\S+ +\S+ +\S+ +\S+$",
        "a schedule has the five fields of cron (minute, hour, day of the month, month, day of the "
        'week), e.g. "0 3 * * *"',
    ),
    Matches(rf"^{_MINUTE}( |$)", "the minute of a schedule (its first field) is 0 to 59"),
    Matches(rf"^\S+ +{_HOUR}( |$)", "the hour of a schedule (its second field) is 0 to 23"),
    Matches(
        rf"^\S+ +\S+ +{_DAY}( |$)",
        "the day of the month of a schedule (its third field) is 1 to 31",
    ),
    Matches(
        rf"^\S+ +\S+ +\S+ +{_MONTH}( |$)",
        "the month of a schedule (its fourth field) is 1 to 12, or jan to dec",
    ),
    Matches(
        rf"^\S+ +\S+ +\S+ +\S+ +{_WEEKDAY}$",
        "the day of the week of a schedule (its fifth field) is 0 to 7 (0 and 7: Sunday), or sun "
        "to sat",
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
    schedule: str | None = Field(
        default=None, max_length=200, description="Schedule and zone that `slot` is a time of."
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
    probe: str | None = Field(
        default=None, max_length=64, description="Uid of the last look's Job."
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
    opened: str | None = Field(
        default=None, max_length=64, description="The last revision that a retraining opened."
    )
    start_from: SourceRef | None = Field(
        default=None, description="What that revision goes on from."
    )
    settings: Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=32)] = (
        Field(default={}, description="Best settings of a search that it is trained with.")
    )
