"""All reflectors: each resource in each namespace that is served."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from luthier_operator.cluster import Cluster
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.namespaces import Namespaces
from luthier_operator.reflector import Changed, Reflector
from luthier_operator.resources import CHILDREN, OPTIONAL, OWNERS, WRITTEN, Resource
from luthier_operator.store import Store

log = logging.getLogger(__name__)

# So many list at the same time: each holds a page of objects as they came.
LISTS = 2
# How often a kind is looked for that the cluster lacks, and after how long one that couldn't be.
LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0
REQUIRED = (*CHILDREN, *OWNERS)

Domain = tuple[Resource, str | None]


class _Optional:
    """What is known of a kind that a cluster may lack."""

    def __init__(self) -> None:
        self.wanted, self.look = asyncio.Event(), asyncio.Event()
        self.looked = False
        self.served: Resource | None = None


@dataclass(frozen=True)
class _Watched:
    reflector: Reflector
    task: asyncio.Task[None]


class Watches:
    """Starts and ends reflectors as namespaces come and go, and as optional kinds do."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        namespaces: Iterable[str],
        selector: str,
        changed: Changed,
        filled: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`filled` is told once a namespace's required resources are all in the store."""
        self._cluster, self._store = cluster, store
        self._changed, self._filled = changed, filled
        self._lists = asyncio.Semaphore(LISTS)
        self._namespaces = Namespaces(
            cluster, namespaces, selector, enter=self._enter, leave=self._leave
        )
        self._served: set[str | None] = set()
        self._full: set[str | None] = set()  # of these it was told that they are
        self._watched: dict[Domain, _Watched] = {}
        self._optional = {resource: _Optional() for resource in OPTIONAL}
        for resource in WRITTEN:
            self.want(resource)
        self._group: asyncio.TaskGroup | None = None

    @property
    def namespaces(self) -> set[str]:
        """Those that are served, where it isn't all of them."""
        return {it for it in self._served if it is not None}

    async def run(self) -> None:
        """Watch for ever. Raises what ends a reflector for good."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._namespaces.run())
            for resource in self._optional:
                group.create_task(self._look_for(resource))

    async def warm(self) -> None:
        """Wait until the store has all of it that can be had."""
        await self._namespaces.known()
        while waiting := [it for it in self._of(REQUIRED) if not it.settled.is_set()]:
            await waiting[0].settled.wait()

    def filling(self, namespace: str) -> bool:
        """Whether a namespace is served, and the store lacks something of it still."""
        where = namespace if namespace in self._served else None
        return where in self._served and not self._complete(where)

    def want(self, resource: Resource) -> None:
        """Watch an optional kind from now on, once the cluster has it. Asked again: nothing."""
        self._optional[resource].wanted.set()

    def installed(self, resource: Resource) -> bool | None:
        """Whether the cluster has an optional kind; None until somebody wants it and it's known."""
        optional = self._optional[resource]
        return optional.served is not None if optional.looked else None

    def served(self, resource: Resource) -> Resource | None:
        """An optional kind in the version that the cluster serves it in, or None."""
        return self._optional[resource].served

    def watched(self, resource: Resource, namespace: str) -> bool | None:
        """Whether the cluster has an optional kind, once the store has all of it in a namespace,
        or may not; None until then."""
        if not self.installed(resource):
            return self.installed(resource)
        for where in (namespace, None):
            if (resource, where) in self._watched:
                settled = self._watched[(resource, where)].reflector.settled.is_set()
                return True if settled else None
        return None

    def _enter(self, namespace: str | None) -> None:
        if namespace in self._served:
            return
        log.info("serving namespace=%s", namespace or "*")
        self._served.add(namespace)
        wanted = [it.served for it in self._optional.values() if it.served is not None]
        for resource in (*REQUIRED, *wanted):
            self._start(resource, namespace)

    def _leave(self, namespace: str) -> None:
        if namespace not in self._served:
            return
        log.info("no longer serving namespace=%s", namespace)
        self._served.discard(namespace)
        self._full.discard(namespace)
        for resource in [it for it, where in self._watched if where == namespace]:
            self._stop(resource, namespace)
        for resource in (*REQUIRED, *OPTIONAL):
            for obj in self._store.close(resource, namespace):
                self._changed(resource, obj)

    def _start(self, resource: Resource, namespace: str | None) -> None:
        assert self._group is not None
        if namespace is not None:
            self._store.open(resource, namespace)
        optional = self._optional.get(resource)
        reflector = Reflector(
            self._cluster,
            self._store,
            resource,
            namespace,
            self._changed,
            lists=self._lists,
            absent=optional.look.set if optional else lambda: None,
        )
        task = self._group.create_task(reflector.run())
        self._watched[(resource, namespace)] = _Watched(reflector, task)
        if resource in (*REQUIRED, *WRITTEN):
            self._group.create_task(self._await_filled(resource, reflector, namespace))

    async def _await_filled(
        self, resource: Resource, reflector: Reflector, namespace: str | None
    ) -> None:
        """Tell of a namespace once, however many of its lists end in one moment; and once more when
        an optional kind of which children are made has come."""
        await reflector.synced.wait()
        if namespace not in self._served or not self._complete(namespace):
            return
        if resource in REQUIRED and namespace in self._full:
            return
        self._full.add(namespace)
        self._filled(namespace)

    def _complete(self, namespace: str | None) -> bool:
        return all(
            (resource, namespace) in self._watched
            and self._watched[(resource, namespace)].reflector.synced.is_set()
            for resource in REQUIRED
        )

    def _stop(self, resource: Resource, namespace: str | None) -> None:
        watched = self._watched.pop((resource, namespace))
        watched.task.cancel()
        # Nobody waits for it any longer.
        watched.reflector.settled.set()
        watched.reflector.synced.set()

    def _of(self, resources: Iterable[Resource]) -> list[Reflector]:
        return [it.reflector for (of, _), it in self._watched.items() if of in resources]

    async def _look_for(self, resource: Resource) -> None:
        """Find an optional kind when it comes, and again when it has gone or changed."""
        optional = self._optional[resource]
        await optional.wanted.wait()
        while True:
            optional.look.clear()
            pause: float | None = RETRY_SECONDS
            try:
                found = await self._cluster.discover(resource)
            except (ApiError, ApiUnreachableError) as error:
                log.warning("can't tell whether there is resource=%s: %s", resource.plural, error)
            else:
                self._found(resource, found)
                # Its reflectors tell when it goes.
                pause = None if found else LOOK_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await optional.look.wait()

    def _found(self, resource: Resource, found: Resource | None) -> None:
        optional = self._optional[resource]
        if found is None and (optional.served or not optional.looked):
            log.info("not installed resource=%s group=%s", resource.plural, resource.group)
        before = optional.served.version if optional.served else None
        optional.looked, optional.served = True, found
        if found is not None and found.version == before:
            return
        for where in [where for of, where in self._watched if of == resource]:
            self._stop(resource, where)
            for obj in self._store.drop(resource, where):
                self._changed(resource, obj)
        if found is not None:
            log.info("found resource=%s version=%s", resource.plural, found.version)
            for namespace in sorted(self._served, key=str):
                self._start(found, namespace)
