"""Lists: the store's first content, and the check that the watches still tell everything."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from luthier_operator import metrics
from luthier_operator.cluster import Cluster
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.resources import CHILDREN, KIND_LABEL, OWNERS, Obj, Resource
from luthier_operator.store import Store

log = logging.getLogger(__name__)

# A watch may be this far behind a list.
WATCH_GRACE_SECONDS = 10.0
# So many relists in a row that find unseen changes: the watch of that kind is dead.
MISSES_UNTIL_DEAD = 2
FIRST_PAUSE_SECONDS = 0.5
MOST_PAUSE_SECONDS = 10.0

Changed = Callable[[Resource, Obj], None]


class Lister:
    """Lists every watched kind, in the served namespaces."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        namespaces: Iterable[str],
        changed: Changed,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._changed = changed
        self._misses: dict[Resource, int] = {}

    @property
    def dead(self) -> list[str]:
        """The kinds whose watch has stopped telling."""
        return [
            resource.plural
            for resource, misses in self._misses.items()
            if misses >= MISSES_UNTIL_DEAD
        ]

    async def fill(self) -> None:
        """Fill the store before anything is decided; waits for an API server and for the CRDs."""
        for resource in (*CHILDREN, *OWNERS):
            pause = FIRST_PAUSE_SECONDS
            while True:
                try:
                    listed, _ = await self._list(resource)
                    break
                except (ApiError, ApiUnreachableError) as error:
                    log.warning("can't list %s, trying again: %s", resource.plural, error)
                    await asyncio.sleep(pause)
                    pause = min(MOST_PAUSE_SECONDS, pause * 2)
            for obj in listed:
                self._store.put(resource, obj)
                self._changed(resource, obj)

    async def run(self, seconds: float) -> None:
        """Relist for ever."""
        while True:
            await asyncio.sleep(seconds)
            for resource in (*CHILDREN, *OWNERS):
                try:
                    await self.relist(resource)
                except (ApiError, ApiUnreachableError) as error:
                    log.warning("can't relist %s: %s", resource.plural, error)

    async def relist(self, resource: Resource) -> None:
        """Compare one kind with the API server, once the watch has had time to tell."""
        listed, version = await self._list(resource)
        await asyncio.sleep(WATCH_GRACE_SECONDS)
        late = self._store.behind(resource, listed)
        ghosts = self._store.ghosts(resource, listed, version)
        for obj in late:
            self._store.put(resource, obj)
            self._changed(resource, obj)
        for ghost in ghosts:
            self._store.remove(resource, ghost)
            self._changed(resource, ghost)
        missed = len(late) + len(ghosts)
        self._misses[resource] = self._misses.get(resource, 0) + 1 if missed else 0
        if missed:
            metrics.WATCH_MISSES.labels(resource=resource.plural).inc(missed)
            log.warning("watch missed resource=%s objects=%d", resource.plural, missed)

    async def _list(self, resource: Resource) -> tuple[list[Obj], int]:
        labels = KIND_LABEL if resource in CHILDREN else ""
        listed: list[Obj] = []
        versions: list[int] = []
        for namespace in self._namespaces:
            items, version = await self._cluster.list_all(resource, namespace, labels=labels)
            listed += items
            versions.append(version)
        return listed, min(versions)
