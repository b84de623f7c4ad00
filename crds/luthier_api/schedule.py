"""The times of a cron schedule, in its time zone. Pure.

For the operator and the command line: the trainer's image lacks cronsim.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

# Many schedules say "0 3 * * *": each resource comes by so much of its interval later.
_JITTER_MOST = timedelta(minutes=10)
_JITTER_SHARE = 10
_MINUTE = timedelta(minutes=1)


class ScheduleError(ValueError):
    """No time ever comes of it. `field`: of spec.retrain, whose fault it is."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Slot:
    """A time of a schedule: `time` as it says, by which it is known, and `due`, when the resource's
    turn comes."""

    time: datetime
    due: datetime


class Slots:
    """The times of a schedule for one resource. Raises ScheduleError."""

    def __init__(self, expression: str, time_zone: str, uid: str) -> None:
        check(expression, time_zone)
        self._expression, self._zone = expression, time_zone
        digest = hashlib.sha256(uid.encode()).digest()
        self._share = int.from_bytes(digest[:4], "big") / 2**32

    def latest(self, now: datetime) -> Slot:
        """The last one that is due; however many were missed, it stands for them."""
        slot = self._slot(_latest(self._expression, self._zone, _minute(now)))
        if slot.due <= now:
            return slot
        return self._slot(_latest(self._expression, self._zone, slot.time - _MINUTE))

    def after(self, time: datetime) -> Slot:
        """The first one after a time, which may be one of the schedule itself."""
        return self._slot(_after(self._expression, self._zone, _minute(time)))

    def _slot(self, time: datetime) -> Slot:
        until_next = _after(self._expression, self._zone, time) - time
        jitter = self._share * min(_JITTER_MOST, until_next / _JITTER_SHARE)
        return Slot(time, (time + jitter).replace(microsecond=0))


@lru_cache(maxsize=1024)
def check(expression: str, time_zone: str) -> None:
    """Raises ScheduleError where the schedule or its zone isn't one."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is no zone
        raise ScheduleError(
            "timeZone",
            f"there is no time zone {time_zone!r}; write it as the tz database does, e.g. "
            "Europe/Vienna",
        ) from None
    try:
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=zone)))
    except (CronSimError, StopIteration) as error:
        why = str(error).removeprefix("Bad ") or "no day has it"
        raise ScheduleError(
            "schedule",
            f"{expression!r} names no time that ever comes (look at its {why}); write minute, "
            'hour, day of the month, month and day of the week, e.g. "0 3 * * *"',
        ) from None


# Asked at each look at a resource, and the same all through a minute.
@lru_cache(maxsize=4096)
def _after(expression: str, time_zone: str, time: datetime) -> datetime:
    times = CronSim(expression, time.astimezone(ZoneInfo(time_zone)))
    # In the hour that comes twice in autumn, what was in the first is before the second.
    return next(it for it in (found.astimezone(UTC) for found in times) if it > time)


@lru_cache(maxsize=4096)
def _latest(expression: str, time_zone: str, now: datetime) -> datetime:
    """At `now`, or before."""
    start = (now + _MINUTE).astimezone(ZoneInfo(time_zone))
    times = CronSim(expression, start, reverse=True)
    # What the clock leaves out in spring is put behind the gap, which may be after now.
    found = next(it for it in (each.astimezone(UTC) for each in times) if it <= now)
    while (later := _after(expression, time_zone, found)) <= now:
        found = later
    return found


def _minute(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)
