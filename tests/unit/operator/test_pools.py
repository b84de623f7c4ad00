"""What users are shown of the pools."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from unit.operator.builders import Revision, job_of, resource
from unit.operator.test_usage import pod

from luthier_api.platform import Platform
from luthier_api.pools import CONFIG_MAP, KEY, PoolsPage
from luthier_operator.errors import ApiError
from luthier_operator.pools import Pools, load_of, page
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, Key, Obj, Resource
from luthier_operator.store import Store

PLATFORM = Platform.model_validate(
    {
        "defaultPool": "cpu",
        "pools": [
            {"name": "cpu", "image": "i", "description": "Small models.", "maxRuns": 5},
            {"name": "gpu", "image": "i", "maxGpus": 4, "gpus": 16, "queue": "shared"},
            {"name": "theirs", "image": "i", "namespaces": ["rich"], "maxGpus": 8},
        ],
        "storage": {},
        "namespaces": {"rich": {"pool": "theirs", "queue": "rich", "maxDurationSeconds": 60}},
    }
)


def named(name: str, phase: str | None, pool: str | None = None) -> Obj:
    obj = resource(status={"phase": phase} if phase else {}, placement={"pool": pool})
    return obj | {"metadata": obj["metadata"] | {"name": name, "uid": name}}


def busy() -> Store:
    """Two runs that hold GPUs, and some that hold none."""
    store = Store()
    for name, phase, pool in (
        ("a", "Running", "gpu"), ("b", "Restarting", "gpu"), ("c", "Queued", "gpu"),
        ("d", None, None), ("e", "Complete", "gpu"), ("f", "Stalled", "gpu"),
    ):  # fmt: skip
        store.put(FINE_TUNE_JOBS, named(name, phase, pool))
    job = job_of(Revision("r1-a", 1, "a"))
    job["metadata"]["annotations"] = {"luthier.dev/pool": "gpu"}
    store.put(JOBS, job)
    store.put(PODS, pod("holds", revision="r1-a", gpus="4"))
    store.put(PODS, pod("begins", revision="r1-a", gpus="2", started=None))
    store.put(PODS, pod("over", revision="r1-a", gpus="4", finished=10))
    waits = pod("waits", revision="r1-a", gpus="4", started=None)
    store.put(PODS, waits | {"spec": {"containers": waits["spec"]["containers"]}})
    return store


def shown(namespace: str, store: Store) -> dict[str, Any]:
    return {it.name: it for it in page(namespace, PLATFORM, load_of(store, PLATFORM)).pools}


def test_a_namespace_is_shown_what_it_may_use() -> None:
    found = shown("team", busy())
    assert list(found) == ["cpu", "gpu"]
    assert (found["cpu"].default, found["gpu"].default) == (True, False)
    gpu = found["gpu"]
    assert (gpu.gpus_held, gpu.gpus_free, gpu.max_gpus) == (6, 10, 4)
    assert (gpu.running, gpu.waiting, gpu.queue) == (2, 1, "shared")
    cpu = found["cpu"]
    assert (cpu.running, cpu.waiting, cpu.max_runs, cpu.gpus_free) == (0, 1, 5, None)


def test_what_differs_in_a_namespace_is_its_own() -> None:
    found = shown("rich", Store())
    assert list(found) == ["cpu", "gpu", "theirs"]
    assert found["theirs"].default
    assert {it.queue for it in found.values()} == {"rich"}
    assert {it.max_duration_seconds for it in found.values()} == {60}


@dataclass
class Server:
    """ConfigMaps by namespace."""

    objects: dict[str, Obj] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    forbidden: str = ""

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        assert key[1] == CONFIG_MAP
        return self.objects.get(key[0])

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        namespace = obj["metadata"]["namespace"]
        if namespace == self.forbidden:
            raise ApiError(403, "Forbidden", "no right")
        self.writes.append(namespace)
        self.objects[namespace] = obj
        return obj

    async def patch(self, resource: Resource, obj: Obj, changes: Obj) -> Obj:
        namespace = obj["metadata"]["namespace"]
        self.writes.append(namespace)
        self.objects[namespace] = obj | changes
        return self.objects[namespace]

    def page(self, namespace: str) -> PoolsPage:
        return PoolsPage.read(json.loads(self.objects[namespace]["data"][KEY]))


def test_only_what_has_changed_is_written(caplog: pytest.LogCaptureFixture) -> None:
    server, store = Server(forbidden="denied"), Store()
    pools = Pools(server, store, PLATFORM, lambda: ["rich", "denied"])
    asyncio.run(pools.write())
    asyncio.run(pools.write())
    assert server.writes == ["rich"]
    # Once, however often it is tried.
    assert len([it for it in caplog.records if "denied" in it.message]) == 1
    store.put(FINE_TUNE_JOBS, named("a", "Queued"))
    asyncio.run(pools.write())
    assert server.writes == ["rich", "rich", "team"]
    assert server.page("team").pools[0].waiting == 1
    # The next leader finds it as it is.
    asyncio.run(Pools(server, store, PLATFORM, lambda: ["rich"]).write())
    assert len(server.writes) == 3


def test_somebody_elses_config_map_is_left_alone() -> None:
    theirs = {"metadata": {"namespace": "rich", "name": CONFIG_MAP}, "data": {"mine": "yes"}}
    server = Server({"rich": theirs})
    asyncio.run(Pools(server, Store(), PLATFORM, lambda: ["rich"]).write())
    assert server.objects["rich"] == theirs
