"""Keeps the store like one resource of one namespace, or of all: LIST, then WATCH, for ever.

Each reflector is a failure domain of its own: what keeps it from watching holds up no other.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from luthier_operator import metrics
from luthier_operator.cluster import Cluster
from luthier_operator.errors import (
    ApiError,
    ApiUnreachableError,
    VersionsWentBackError,
    WatchSilentError,
)
from luthier_operator.resources import KIND_LABEL, LABELLED, OPTIONAL, Obj, Resource, key_of
from luthier_operator.store import Store, version_of

log = logging.getLogger(__name__)

Changed = Callable[[Resource, Obj], None]


@dataclass(frozen=True)
class Pauses:
    """Between tries, doubled from the first to the most, and jittered."""

    first: float = 0.25
    most: float = 10.0
    most_denied: float = 60.0
    # What held shorter than this has failed, however it ended.
    lasting: float = 1.0

    def after(self, failures: int, *, denied: bool) -> float:
        """Seconds until the next try; 0 after what held."""
        if not failures:
            return 0.0
        most = self.most_denied if denied else self.most
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - a pause, not a secret
        return jitter * min(most, self.first * 2.0 ** min(failures - 1, 16))


class Reflector:
    """One resource in one namespace, or in all (None).

    `synced` is set once the store has the first list, `settled` then, too, or once it is known that
    there will be none soon: a named namespace, or an optional kind, that doesn't let us in. That a
    kind is served at all, and that the whole cluster may be read where it is to be, is waited for.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        resource: Resource,
        namespace: str | None,
        changed: Changed,
        *,
        lists: asyncio.Semaphore | None = None,
        labels: str = "",
        pauses: Pauses | None = None,
        absent: Callable[[], None] = lambda: None,
    ) -> None:
        """`lists` bounds how many reflectors list at once, and with it what is in memory.

        `absent` is called when the API server doesn't serve the kind.
        """
        self._cluster, self._store = cluster, store
        self._resource, self._namespace = resource, namespace
        self._changed = changed
        self._lists = lists or asyncio.Semaphore()
        self._labels = labels or (KIND_LABEL if resource in LABELLED else "")
        self._pauses = pauses or Pauses()
        self._version: int | None = None  # to watch from; None: list first
        self._newest = 0
        self._trouble: str | None = None
        self._absent = absent
        self.settled, self.synced = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Watch for ever. Raises VersionsWentBackError where only a new process helps."""
        failures = 0
        try:
            while True:
                began, denied = time.monotonic(), False
                try:
                    if self._version is None:
                        await self._list()
                    await self._watch(self._version or 0)
                except ApiError as error:
                    denied = self._refused(error)
                except ApiUnreachableError as error:
                    self._down("unreachable", str(error))
                lasted = time.monotonic() - began >= self._pauses.lasting
                failures = 0 if lasted and not denied else failures + 1
                await asyncio.sleep(self._pauses.after(failures, denied=denied))
        finally:
            metrics.WATCH_UP.remove(*self._labelled())

    async def _list(self) -> None:
        """Take everything, page by page, and forget what isn't there any more."""
        listed: set[str] = set()
        version = 0
        async with self._lists:
            newest = max(self._newest, self._store.newest(self._resource, self._namespace))
            pages = self._cluster.pages(self._resource, self._namespace, labels=self._labels)
            async for page, version in pages:
                if 0 < version < newest:
                    raise self._went_back(f"a list has version {version}, and {newest} was known")
                for obj in page:
                    self._check(obj, version)
                    listed.add(obj["metadata"]["uid"])
                    if self._store.put(self._resource, obj, listed=True):
                        self._changed(self._resource, obj)
                # The next page comes while this one is still held: as few bytes as can be.
                page.clear()
        for gone in self._store.remove_unlisted(self._resource, self._namespace, listed, version):
            self._changed(self._resource, gone)
        metrics.WATCH_LISTS.labels(resource=self._resource.plural).inc()
        self._reached(version)

    def _check(self, obj: Obj, version: int) -> None:
        """A restore may raise the versions to come above all that were: objects show it then."""
        known = self._store.get(self._resource, key_of(obj))
        if known is not None and version_of(obj) < version_of(known) <= version:
            raise self._went_back(
                f"{key_of(obj)} has version {version_of(obj)} in a list of version {version}, and "
                f"{version_of(known)} was known"
            )

    def _went_back(self, what: str) -> VersionsWentBackError:
        return VersionsWentBackError(
            f"{self._who()}: {what}: the API server's data were put back to an older state"
        )

    async def _watch(self, version: int) -> None:
        """Follow the events from a version on, until the watch ends or breaks."""
        where = (self._resource, self._namespace)
        async with self._cluster.watch(*where, version, labels=self._labels) as events:
            self._up()
            try:
                async for event in events:
                    self._take(event["type"], event["object"])
            except WatchSilentError as error:
                # Whatever it was deaf to, a list has it.
                log.warning("watch silent %s: %s; listed anew", self._who(), error)
                self._version = None
            except ApiUnreachableError as error:
                # A server restarted, a connection cut: from where it was, at once.
                log.debug("watch cut %s: %s", self._who(), error)

    def _take(self, event: str, obj: Obj) -> None:
        version = version_of(obj)
        if 0 < version < self._newest:
            # Events come in the order of their versions: only a list can tell what this means.
            raise ApiError(410, "Gone", f"version {version} after {self._newest}")
        if event != "BOOKMARK":
            metrics.WATCH_EVENTS.labels(resource=self._resource.plural).inc()
            if event == "DELETED":
                self._store.remove(self._resource, obj)
                self._changed(self._resource, obj)
            elif self._store.put(self._resource, obj):
                self._changed(self._resource, obj)
        if version:
            self._reached(version)

    def _reached(self, version: int) -> None:
        self._version = version
        self._newest = max(self._newest, version)
        self._store.advance(self._resource, self._namespace, version)

    def _refused(self, error: ApiError) -> bool:
        """What the API server's no means; whether it is one that lasts."""
        if error.status == 410:
            # Too far behind: what was missed is in a new list.
            log.info("watch too old %s: %s; listed anew", self._who(), error)
            self._version = None
            return False
        if error.status == 403:
            self._down("forbidden", f"{error}; is the operator's role bound there?")
            if self._namespace is not None or self._resource in OPTIONAL:
                self.settled.set()
            return True
        if error.status == 404:
            # Not that the namespace is gone, in which a list is empty: the kind isn't served.
            self._version = None
            self._down("absent", f"{error}; is its CRD installed?")
            for obj in self._store.drop(self._resource, self._namespace):
                self._changed(self._resource, obj)
            self._absent()
            return True
        self._down("failing", str(error))
        return False

    def _up(self) -> None:
        self.synced.set()
        self.settled.set()
        metrics.WATCH_UP.labels(*self._labelled()).set(1)
        if self._trouble:
            log.info("watch up %s", self._who())
        self._trouble = None

    def _down(self, trouble: str, why: str) -> None:
        """Told once, until something else is the matter."""
        metrics.WATCH_UP.labels(*self._labelled()).set(0)
        if trouble != self._trouble:
            log.warning("watch down (%s) %s: %s; tried again", trouble, self._who(), why)
        self._trouble = trouble

    def _labelled(self) -> tuple[str, str]:
        return self._resource.plural, self._namespace or ""

    def _who(self) -> str:
        return f"resource={self._resource.plural} namespace={self._namespace or '*'}"
