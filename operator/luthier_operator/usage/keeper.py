"""Keeps the ledger: while this replica leads, it measures, and writes to the month's ConfigMap.

What is shown has been written before. So no number falls: whoever leads next begins with it, and
charges the pods' time since then.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from luthier_api.platform import Platform
from luthier_api.usage import (
    LEDGER_KEY,
    MONTHS,
    MOST_BYTES,
    Ledger,
    Mark,
    Total,
    ledger_name,
    read_ledger,
    totals,
    write_ledger,
)
from luthier_operator import metrics
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.resources import CONFIG_MAPS, OWNERS, PODS, Key, Obj, Resource
from luthier_operator.store import Store
from luthier_operator.usage.book import Book, folded, following
from luthier_operator.usage.holding import Holding, holding_of, payer_of
from luthier_operator.usage.meter import Meter

log = logging.getLogger(__name__)


class Api(Protocol):
    """What is asked of the API server."""

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        """The object as it is now, or None."""

    async def replace(self, resource: Resource, obj: Obj) -> Obj:
        """Write over exactly the version that the object names, else ApiError 409."""


class MissingError(Exception):
    """The chart's ConfigMap isn't there."""


class Keeper:
    """The ledgers of one release. `namespace` and `release`: where, and how they are called;
    `seconds`: between two writes; `last_seconds`: for the last one, at the end of leading. What was
    used since then, who leads next finds again."""

    def __init__(
        self,
        api: Api,
        store: Store,
        platform: Platform,
        namespace: str,
        release: str,
        seconds: float,
        last_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api, self._store, self._platform = api, store, platform
        self._namespace, self._release = namespace, release
        self._seconds, self._last_seconds, self._now = seconds, last_seconds, now
        self._book: Book | None = None
        self._meter: Meter | None = None
        # The ConfigMap of the month that the book is of, as it was read or written last.
        self._object: Obj | None = None
        self._shown: list[Total] = []
        self._told = ""

    @property
    def shown(self) -> list[Total]:
        """What is written, and 0 for who has begun since: the first rise counts, too."""
        if self._meter is None:
            return []
        known = {(it.namespace, it.pool, it.kind) for it in self._shown}
        begun = {(it.namespace, it.pool, it.kind) for it in self._meter.payers} - known
        return self._shown + [
            Total(namespace=namespace, pool=pool, kind=kind)
            for namespace, pool, kind in sorted(begun)
        ]

    def see(self, resource: Resource, obj: Obj) -> None:
        """Something has happened to an object of the store, or it has gone."""
        if resource != PODS or self._meter is None:
            return
        metadata = obj["metadata"]
        known = self._store.get(PODS, (metadata["namespace"], metadata["name"]))
        if known is None or known["metadata"]["uid"] != metadata["uid"]:
            self._meter.gone(metadata["uid"], self._now())
        elif holding := self._holding(known):
            self._meter.see(known, holding, self._now())

    async def run(self) -> None:
        """Keep the ledger until cancelled, and write it once more then."""
        try:
            while True:
                await self._attempt()
                await asyncio.sleep(self._seconds)
        finally:
            try:
                async with asyncio.timeout(self._last_seconds):
                    await self._attempt()
            except TimeoutError:
                log.warning("usage isn't written in time: who leads next finds it again")
            self._book = self._meter = None

    async def _attempt(self) -> None:
        """Read the ledger, or write what has come. Without it the runs go on as well."""
        try:
            if self._book is None:
                await self._load()
            else:
                await self._save(self._book)
            metrics.USAGE_SAVED.set(time.time())
            self._told = ""
        except (ApiError, ApiUnreachableError, MissingError) as error:
            if isinstance(error, ApiError) and error.status == 409:
                # Another one has written it: what it has not is measured again.
                self._book = self._meter = None
            if str(error) != self._told:
                self._told = str(error)
                log.warning("usage isn't kept, and is tried again: %s", error)
        except Exception:
            # A defect here must hold up nobody's run.
            log.exception("usage isn't kept, and is read anew")
            self._book = self._meter = None

    async def _load(self) -> None:
        now = self._now()
        written = await self._newest(now)
        self._begin(written or Ledger(month=_month(now), until=now.isoformat()), now, written)

    def _begin(self, ledger: Ledger, now: datetime, written: Ledger | None) -> None:
        book = Book(ledger)
        until = min(datetime.fromisoformat(ledger.until), now)
        meter = Meter(until, book.charge)
        for resource in OWNERS:
            for _, obj in self._store.all(resource):
                ended = obj["status"].get("completionTime")
                over = ended is not None and _time(ended, now) <= until
                known = obj["metadata"]["uid"] in book.marks
                if written is None or (over and not known):
                    book.skip(obj)
        self._book, self._meter, self._shown = book, meter, totals(ledger)
        for _, pod in self._store.all(PODS):
            if holding := self._holding(pod):
                meter.see(pod, holding, now)

    async def _newest(self, now: datetime) -> Ledger | None:
        """The last ledger of a year; None where there is none yet."""
        month = now.astimezone(UTC).replace(day=1)
        for _ in range(MONTHS):
            self._object = await self._get(_month(month))
            if (found := _ledger_in(self._object, _month(month))) is not None:
                return found
            month = (month - timedelta(days=1)).replace(day=1)
        self._object = await self._get(_month(now))
        return None

    async def _get(self, month: str) -> Obj:
        name = ledger_name(self._release, month)
        obj = await self._api.get(CONFIG_MAPS, (self._namespace, name))
        if obj is None:
            raise MissingError(
                f"there is no ConfigMap {name} in namespace {self._namespace}: the chart makes it"
            )
        return obj

    async def _save(self, book: Book) -> None:
        assert self._meter is not None
        now = self._now()
        self._meter.advance(now)
        marks = self._read_statuses(book, now)
        entries = book.take()
        if not entries:
            return
        try:
            ledger = following(book.written, entries, marks, now)
            await self._write(ledger, another=ledger.month != book.written.month)
        except BaseException:
            book.give_back(entries)
            raise
        book.written, self._shown = ledger, totals(ledger)

    def _read_statuses(self, book: Book, now: datetime) -> dict[str, Mark]:
        """Marks of what may say more: what has ended says no more, and is in the ledger."""
        going_on = {}
        for resource in OWNERS:
            for _, obj in self._store.all(resource):
                book.tell(obj, partial(payer_of, resource, obj, self._platform), now)
                uid = obj["metadata"]["uid"]
                if uid in book.marks and obj["status"].get("completionTime") is None:
                    going_on[uid] = book.marks[uid]
        book.forget([uid for uid in book.marks if self._store.find(uid) is None])
        return going_on

    async def _write(self, ledger: Ledger, *, another: bool) -> None:
        """Over exactly what was read or written last: whoever else has written it has measured,
        too. `another`: a month begins."""
        obj = await self._get(ledger.month) if another or self._object is None else self._object
        packed = await asyncio.to_thread(write_ledger, ledger)
        if len(packed) > MOST_BYTES:
            log.warning("the ledger %s is full: its days and users are folded", ledger.month)
            packed = await asyncio.to_thread(write_ledger, folded(ledger))
        data = {LEDGER_KEY: base64.b64encode(packed).decode()}
        self._object = await self._api.replace(CONFIG_MAPS, {**obj, "binaryData": data})

    def _holding(self, pod: Obj) -> Holding | None:
        owner = self._store.owner(pod)
        return holding_of(pod, owner, self._store.find, self._platform)


def _ledger_in(obj: Obj, month: str) -> Ledger | None:
    """None in what hasn't been written to, or not for a year."""
    packed = (obj.get("binaryData") or {}).get(LEDGER_KEY)
    if not packed:
        return None
    try:
        ledger = read_ledger(base64.b64decode(packed))
        datetime.fromisoformat(ledger.until)
    except ValueError as error:
        log.error("the ledger of %s is unreadable, and left out: %s", month, error)
        return None
    return ledger if ledger.month == month else None


def _month(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m")


def _time(text: str, default: datetime) -> datetime:
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return default
    return told if told.tzinfo else told.replace(tzinfo=UTC)
