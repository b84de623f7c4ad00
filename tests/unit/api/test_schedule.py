"""The times of a cron schedule in its zone: through changes of the clock, and each at its own."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from luthier_api.retraining import Retrain
from luthier_api.schedule import ScheduleError, Slots, check

UID = "11111111-2222-3333-4444-555555555555"
SCHEDULES = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "0 0 * * *",
    "15 1-3 * * *",
    "0 3 * * mon",
    "0 0 1 * *",
    "59 23 31 12 *",
    "0 0 29 2 *",
)
ZONES = (
    "UTC",
    "Europe/Vienna",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # which once left out a day
    "Africa/Casablanca",
)
MOMENTS = st.datetimes(datetime(2009, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@given(st.sampled_from(SCHEDULES), st.sampled_from(ZONES), MOMENTS, st.uuids())
def test_the_latest_is_over_and_the_next_is_to_come(
    expression: str, zone: str, now: datetime, uid: object
) -> None:
    slots = Slots(expression, zone, str(uid))
    latest = slots.latest(now)
    following = slots.after(latest.time)
    assert latest.due <= now < following.due
    assert latest.time < following.time
    assert slots.latest(latest.due) == latest
    assert slots.after(now).time > now.replace(second=0, microsecond=0)


@pytest.mark.parametrize(
    ("now", "latest", "following"),
    [
        # 02:30 isn't there on the 29th: it counts as 03:00, at 01:00 UTC.
        ("2026-03-29T00:59:00", "2026-03-28T01:30:00", "2026-03-29T01:00:00"),
        ("2026-03-29T01:15:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"),
        # It is there twice on the 25th, and counts once.
        ("2026-10-25T00:15:00", "2026-10-24T00:30:00", "2026-10-25T00:30:00"),
        ("2026-10-25T00:45:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("2026-10-25T01:15:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("2026-10-25T01:45:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_by_an_hour_that_comes_never_or_twice(now: str, latest: str, following: str) -> None:
    slots = Slots("30 2 * * *", "Europe/Vienna", "a")
    assert slots.latest(utc(now)).time == utc(latest)
    assert slots.after(utc(now)).time == utc(following)


@pytest.mark.parametrize(
    ("expression", "most"),
    [("0 3 * * *", timedelta(minutes=10)), ("*/10 * * * *", timedelta(minutes=1))],
)
def test_each_resource_comes_a_little_later_and_always_as_much(
    expression: str, most: timedelta
) -> None:
    now = utc("2026-01-10T12:00:00")
    found = {Slots(expression, "UTC", f"uid-{n}").after(now) for n in range(100)}
    delays = sorted(it.due - it.time for it in found)
    assert timedelta() <= delays[0] < most / 4
    assert most * 3 / 4 < delays[-1] <= most
    assert Slots(expression, "UTC", UID).after(now) == Slots(expression, "UTC", UID).after(now)


@pytest.mark.parametrize(
    ("expression", "zone", "field", "words"),
    [
        ("0 0 31 2 *", "UTC", "schedule", "day-of-month"),
        ("0 0 30,31 2 *", "UTC", "schedule", "day-of-month"),
        ("50-10 * * * *", "UTC", "schedule", "minute"),
        ("0 3 * * *", "Europe/Wien", "timeZone", "Europe/Vienna"),
        ("0 3 * * *", "Europe", "timeZone", "Europe/Vienna"),
    ],
)
def test_what_never_comes(expression: str, zone: str, field: str, words: str) -> None:
    Retrain.model_validate({"schedule": expression, "timeZone": zone})  # no rule can tell
    with pytest.raises(ScheduleError, match=words) as caught:
        check(expression, zone)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "expression",
    [
        "0 3 * * *",
        "*/15 0-6,22,23 1-7 jan,JUL,10-12/2 mon-FRI",
        "00 03 01 01 7",
        "0  3  *  *  0",
        "59 23 31 12 6",
    ],
)
def test_what_cron_knows_is_taken(expression: str) -> None:
    Retrain.model_validate({"schedule": expression})
    check(expression, "UTC")


@pytest.mark.parametrize(
    "expression",
    ["@daily", "0 3 * *", "0 3 * * * *", "60 3 * * *", "*/0 3 * * *", "0 3 L * *", "0 3 * * mon#1",
     "0 3 * * funday", "0,, 3 * * *", "- 3 * * *", "0 3 * * *\n"],
)  # fmt: skip
def test_what_no_cron_has_is_refused_at_once(expression: str) -> None:
    with pytest.raises(ValidationError):
        Retrain.model_validate({"schedule": expression})
