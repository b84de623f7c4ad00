"""The pools that each namespace may use, and how full they are, in a ConfigMap that its users read.

Of other namespaces it tells sums alone. The right to create and patch ConfigMaps is there anyhow,
for run specs.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from luthier_api import terms
from luthier_api.platform import Platform, Pool
from luthier_api.pools import CONFIG_MAP, KEY, PoolsPage, PoolView
from luthier_operator.errors import ApiError, ApiUnreachableError
from luthier_operator.resources import (
    CONFIG_MAPS,
    MANAGED_BY_LABEL,
    OWNERS,
    PODS,
    ROLE_LABEL,
    Key,
    Obj,
    Resource,
    label_of,
)
from luthier_operator.run.observe import parse_pod
from luthier_operator.store import Store
from luthier_operator.usage.holding import holding_of, pool_of

log = logging.getLogger(__name__)

ROLE = "pools"
SECONDS = 30.0
# After so many rounds each is looked at, changed or not.
ANEW = 20
_WAITING = ("Pending", "Queued")
_RUNNING = ("Running", "Restarting")


class Api(Protocol):
    """What is asked of the API server."""

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        """The object as it is now, or None."""

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        """Create an object; ApiError 409 where the name is taken."""

    async def patch(self, resource: Resource, obj: Obj, changes: Obj) -> Obj:
        """Merge-patch fields of the object with that uid."""


@dataclass
class Load:
    """What goes on in the pools, by their names."""

    gpus: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)


def load_of(store: Store, platform: Platform) -> Load:
    """Of all namespaces together."""
    load = Load()
    for resource in OWNERS:
        for _, obj in store.all(resource):
            phase = obj["status"].get("phase") or "Pending"
            counted = load.running if phase in _RUNNING else load.waiting
            if phase in (*_RUNNING, *_WAITING):
                counted[pool_of(obj, platform)] += 1
    for _, pod in store.all(PODS):
        # Its GPUs are taken from when it has its node.
        if not pod["spec"].get("nodeName") or not parse_pod(pod).alive:
            continue
        holding = holding_of(pod, store.owner(pod), store.find, platform)
        if holding is not None:
            load.gpus[holding.payer.pool] += round(holding.gpus)
    return load


def page(namespace: str, platform: Platform, load: Load) -> PoolsPage:
    """What the users of a namespace are shown."""
    access = platform.for_namespace(namespace)

    def view(pool: Pool) -> PoolView:
        return PoolView(
            name=pool.name,
            description=pool.description,
            default=pool.name == (access.pool or platform.default_pool),
            max_gpus=pool.max_gpus,
            max_nodes=pool.max_nodes,
            gpus=pool.gpus,
            gpus_held=load.gpus[pool.name],
            running=load.running[pool.name],
            waiting=load.waiting[pool.name],
            max_runs=pool.max_runs,
            max_duration_seconds=terms.longest(pool, access),
            queue=terms.forced_queue(pool, access),
        )

    usable = (it for it in platform.pools if not it.namespaces or namespace in it.namespaces)
    return PoolsPage(pools=[view(pool) for pool in usable])


class Pools:
    """Writes the ConfigMaps, while this replica leads. `namespaces`: those that are served."""

    def __init__(
        self,
        api: Api,
        store: Store,
        platform: Platform,
        namespaces: Callable[[], Iterable[str]],
        seconds: float = SECONDS,
    ) -> None:
        self._api, self._store, self._platform = api, store, platform
        self._namespaces, self._seconds = namespaces, seconds
        self._written: dict[str, str] = {}
        self._told: set[str] = set()

    async def run(self) -> None:
        """Keep them as they should be, until cancelled."""
        for round_ in count():
            if round_ % ANEW == 0:
                # Somebody may have deleted or changed one meanwhile.
                self._written.clear()
            try:
                await self.write()
            except Exception:
                # A defect here must hold up nobody's run.
                log.exception("pools aren't told")
            await asyncio.sleep(self._seconds)

    async def write(self) -> None:
        """Write those that have changed."""
        load = load_of(self._store, self._platform)
        with_runs = {key[0] for resource in OWNERS for key, _ in self._store.all(resource)}
        for namespace in sorted(with_runs | set(self._namespaces())):
            text = json.dumps(page(namespace, self._platform, load).to_json(), indent=1)
            if text == self._written.get(namespace):
                continue
            try:
                await self._put(namespace, text)
            except (ApiError, ApiUnreachableError) as error:
                # Each is tried again; nobody's runs wait for it.
                if namespace not in self._told:
                    self._told.add(namespace)
                    log.warning("pools aren't told namespace=%s: %s", namespace, error)
                continue
            self._told.discard(namespace)
            self._written[namespace] = text

    async def _put(self, namespace: str, text: str) -> None:
        labels = {MANAGED_BY_LABEL: "luthier", ROLE_LABEL: ROLE}
        metadata = {"namespace": namespace, "name": CONFIG_MAP, "labels": labels}
        data = {"data": {KEY: text}}
        known = await self._api.get(CONFIG_MAPS, (namespace, CONFIG_MAP))
        if known is None:
            wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            await self._api.create(CONFIG_MAPS, wanted | data)
        elif label_of(known, ROLE_LABEL) != ROLE:
            raise ApiError(409, "NotOurs", f"the ConfigMap {CONFIG_MAP} there is somebody else's")
        elif (known.get("data") or {}) != data["data"]:
            await self._api.patch(CONFIG_MAPS, known, data)
