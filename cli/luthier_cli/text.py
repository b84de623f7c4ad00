"""Numbers and times for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from luthier_api.amounts import size as size


def duration(seconds: float) -> str:
    """Two units at most: 42s, 3m 05s, 2h 04m, 3d 01h."""
    total = max(0, round(seconds))
    for long, unit, short, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if total >= long:
            return f"{total // long}{unit} {total % long // short:02}{smaller}"
    return f"{total // 60}m {total % 60:02}s" if total >= 60 else f"{total}s"


def files(count: int) -> str:
    """1 file, 2 files."""
    return f"{count:,} file{'' if count == 1 else 's'}"


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


def estimate(of: Mapping[str, Any]) -> str:
    """What a run needs: 1.2 GiB of memory (1.1 GiB seen) and 3m 05s (2m 50s seen); empty where
    it's unknown."""
    parts = []
    if memory := of.get("memoryBytes"):
        seen = of.get("measuredMemoryBytes")
        parts.append(f"{size(memory)} of memory" + (f" ({size(seen)} seen)" if seen else ""))
    if seconds := of.get("durationSeconds"):
        took = of.get("measuredDurationSeconds")
        parts.append(duration(seconds) + (f" ({duration(took)} seen)" if took else ""))
    return " and ".join(parts)


def restarts(counted: Mapping[str, Any]) -> str:
    """1 failure, 2 disruptions; empty where there were none."""
    words = {"failures": "failure", "disruptions": "disruption"}
    found = ((counted.get(name, 0), word) for name, word in words.items())
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in found if n)


_FOUND = {
    "Unchanged": "data unchanged",
    "Changed": "data changed",
    "TooFewNew": "too few new rows",
    "Failed": "the data can't be looked at",
}


def retraining(status: Mapping[str, Any]) -> str:
    """What the last look at the data found, and when the next one is: data unchanged
    (2026-01-02T03:04:05Z), next 2026-01-03T03:04:05Z."""
    parts = []
    if found := _FOUND.get(str(status.get("outcome"))):
        rows = status.get("rows") or {}
        counts = [f"{rows.get(name, 0):,} {name}" for name in ("new", "gone") if rows.get(name)]
        found += f", {', '.join(counts)}" if counts else ""
        when = status.get("lastProbe")
        parts.append(f"{found} ({when})" if when else found)
    if status.get("outcome") == "Failed" and (why := status.get("message")):
        parts.append(str(why))
    if after := status.get("nextProbe"):
        parts.append(f"next {after}")
    return ", ".join(parts)


def dataset(facts: Mapping[str, Any]) -> str:
    """What preflight counted, without what it found none of."""
    rows = [f"{facts[name]:,} {name}" for name in ("train", "eval", "test") if facts.get(name)]
    parts = [f"{', '.join(rows)} rows"] if rows else []
    if labels := facts.get("labels"):
        parts.append(f"{labels:,} labels")
    if median := facts.get("tokensMedian"):
        parts.append(f"{median:,} tokens a row (95% to {facts.get('tokensP95', median):,})")
    for name, words in (("duplicates", "duplicates"), ("leaked", "rows of eval or test in train")):
        if count := facts.get(name):
            parts.append(f"{count:,} {words}")
    if cut := facts.get("truncatedPercent"):
        parts.append(f"{cut:.3g}% cut at maxLength")
    if chunked := facts.get("chunked"):
        parts.append(f"{chunked:,} long rows in {facts.get('chunks', 0):,} chunks")
    return "; ".join(parts)
