"""Numbers and times for people."""

from datetime import UTC, datetime


def duration(seconds: float) -> str:
    """Two units at most: 42s, 3m 05s, 2h 04m, 3d 01h."""
    total = max(0, round(seconds))
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if total >= size:
            return f"{total // size}{unit} {total % size // smaller_size:02}{smaller}"
    return f"{total // 60}m {total % 60:02}s" if total >= 60 else f"{total}s"


def size(count: float) -> str:
    """Bytes in binary units: 512 B, 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time, or None where there is none or it isn't one."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one RFC 3339 time to another, if both are there."""
    first, last = parse_time(start), parse_time(end)
    return (last - first).total_seconds() if first and last else None
