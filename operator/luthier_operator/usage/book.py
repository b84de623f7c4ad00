"""The ledger as it grows: what is written, and what is to be. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from luthier_api.usage import (
    OTHERS,
    Ledger,
    Line,
    Mark,
    Total,
    Used,
    rounded,
    totals,
)
from luthier_operator.resources import Obj
from luthier_operator.usage.holding import Payer

# So many users of a namespace have lines of their own in a day.
MOST_USERS = 64

LineKey = tuple[str, str, str, str, str]  # day, namespace, pool, kind, user
Entries = dict[LineKey, Used]


class Book:
    """A ledger, and what has come since it was written."""

    def __init__(self, written: Ledger) -> None:
        self.written = written
        self.fresh: Entries = {}
        self.marks: dict[str, Mark] = dict(written.marks)
        self._users: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for line in written.lines:
            self._users[line.day, line.namespace].add(line.user)

    def charge(
        self, payer: Payer, since: datetime, until: datetime, gpus: float, cpus: float
    ) -> None:
        """Time that a pod has held what it holds, by days."""
        for start, end in _days(since, until):
            seconds = (end - start).total_seconds()
            used = Used(gpu_seconds=gpus * seconds, cpu_seconds=cpus * seconds)
            self._add(start, payer, used)

    def tell(self, obj: Obj, payer: Callable[[], Payer], now: datetime) -> None:
        """What a resource's trainers say that its revision has used: what is new of it counts."""
        uid, status = obj["metadata"]["uid"], obj["status"]
        known = self.marks.get(uid)
        if known is not None and _adds_nothing(status, known):
            return
        said = _said(status)
        if said is None:
            return
        before = known if known and known.revision == said.revision else Mark(revision="")
        more = Used(
            trained_tokens=max(0, said.trained_tokens - before.trained_tokens),
            stored_bytes=max(0, said.stored_bytes - before.stored_bytes),
        )
        if more != Used():
            self._add(now, payer(), more)
        self.marks[uid] = said

    def skip(self, obj: Obj) -> None:
        """What its trainers have said so far counts no more."""
        said = _said(obj["status"])
        if said is not None:
            self.marks[obj["metadata"]["uid"]] = said

    def forget(self, uids: Iterable[str]) -> None:
        """Resources that are gone say no more."""
        for uid in uids:
            self.marks.pop(uid, None)

    def take(self) -> Entries:
        """What is to be written; from now on it is somebody else's to remember."""
        taken, self.fresh = self.fresh, {}
        return taken

    def give_back(self, entries: Entries) -> None:
        """It hasn't been written."""
        self.fresh = added(entries, self.fresh)

    def _add(self, day: datetime, payer: Payer, used: Used) -> None:
        date = day.astimezone(UTC).date().isoformat()
        users = self._users[date, payer.namespace]
        user = payer.user
        if user not in users and len(users) >= MOST_USERS:
            user = OTHERS
        users.add(user)
        key = (date, payer.namespace, payer.pool, payer.kind, user)
        self.fresh[key] = self.fresh.get(key, Used()) + used


def following(written: Ledger, entries: Entries, marks: dict[str, Mark], now: datetime) -> Ledger:
    """The ledger with more entries; in another month that month's, which goes on from it."""
    month = now.astimezone(UTC).strftime("%Y-%m")
    same = month == written.month
    lines = added(entries_of(written), entries) if same else entries
    return Ledger(
        month=month,
        until=now.isoformat(),
        before=written.before if same else _carried(written),
        lines=[_line(key, used) for key, used in sorted(lines.items())],
        marks=marks,
    )


def folded(ledger: Ledger) -> Ledger:
    """A shorter one: without users and, of all its days, by the first of each month."""
    entries: Entries = {}
    for (day, namespace, pool, kind, _), used in entries_of(ledger).items():
        key = (f"{day[:7]}-01", namespace, pool, kind, OTHERS)
        entries[key] = entries.get(key, Used()) + used
    lines = [_line(key, used) for key, used in sorted(entries.items())]
    return ledger.model_copy(update={"lines": lines})


def entries_of(ledger: Ledger) -> Entries:
    """Its lines."""
    return {(it.day, it.namespace, it.pool, it.kind, it.user): Used() + it for it in ledger.lines}


def added(entries: Entries, more: Entries) -> Entries:
    """Both."""
    sums = dict(entries)
    for key, used in more.items():
        sums[key] = sums.get(key, Used()) + used
    return sums


def _carried(written: Ledger) -> list[Total]:
    """Totals of the accounts that the month has seen: of the others nobody asks any more."""
    seen = {(it.namespace, it.pool, it.kind) for it in written.lines}
    return [it for it in totals(written) if (it.namespace, it.pool, it.kind) in seen]


def _line(key: LineKey, used: Used) -> Line:
    day, namespace, pool, kind, user = key
    return Line(
        day=day, namespace=namespace, pool=pool, kind=kind, user=user, **dict(rounded(used))
    )


def _said(status: Obj) -> Mark | None:
    usage, revision = status.get("usage") or {}, status.get("revision")
    if not revision:
        return None
    return Mark(
        revision=str(revision)[:256],
        trained_tokens=usage.get("trainedTokens") or 0,
        stored_bytes=usage.get("storedBytes") or 0,
    )


def _adds_nothing(status: Obj, known: Mark) -> bool:
    """Most of a fleet, at each look: without making anything of it."""
    usage = status.get("usage") or {}
    return (
        status.get("revision") == known.revision
        and (usage.get("trainedTokens") or 0) == known.trained_tokens
        and (usage.get("storedBytes") or 0) == known.stored_bytes
    )


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The span, cut at each midnight (UTC)."""
    start = since.astimezone(UTC)
    while start < until:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        end = min(midnight, until)
        yield start, end
        start = end
