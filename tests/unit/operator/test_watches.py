"""Reflectors come and go with namespaces and with kinds that a cluster may lack."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from unit.operator.apiserver import ApiServer, client_of

from luthier_operator import watches as watches_module
from luthier_operator.cluster import Cluster
from luthier_operator.errors import VersionsWentBackError
from luthier_operator.resources import (
    FINE_TUNE_JOBS,
    JOB_SETS,
    JOBS,
    KIND_LABEL,
    NAMESPACES,
    OWNERS,
    UID_LABEL,
    WORKLOADS,
    Obj,
    Resource,
)
from luthier_operator.store import Store
from luthier_operator.supervise import causes
from luthier_operator.watches import Watches


class Watching:
    """All watches at work, and what they told."""

    def __init__(self, cluster: Cluster, *namespaces: str, selector: str = "") -> None:
        self.store, self.told, self.filled = Store(), list[str](), list[str | None]()
        self.watches = Watches(
            cluster, self.store, namespaces, selector, self._changed, self.filled.append
        )
        self.task = asyncio.create_task(self.watches.run())

    def _changed(self, _: Resource, obj: Obj) -> None:
        self.told.append(obj["metadata"]["name"])

    async def warm(self) -> None:
        await asyncio.wait_for(self.watches.warm(), 10)

    def has(self, resource: Resource, namespace: str, name: str) -> bool:
        return self.store.get(resource, (namespace, name)) is not None


Start = Callable[..., Watching]


@pytest.fixture
def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def start(api: ApiServer) -> AsyncIterator[Start]:
    started: list[Watching] = []
    async with client_of(api) as cluster:

        def begin(*namespaces: str, selector: str = "") -> Watching:
            started.append(Watching(cluster, *namespaces, selector=selector))
            return started[-1]

        yield begin
        for watching in started:
            watching.task.cancel()
            await asyncio.wait([watching.task])


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - several conditions, none with an event
            await asyncio.sleep(0.005)


def refuse(api: ApiServer, namespace: str, status: int, *resources: Resource) -> None:
    for resource in resources:
        api.refused[resource.path(namespace)] = status


async def test_the_whole_cluster(api: ApiServer, start: Start) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    watching = start()
    await watching.warm()
    assert watching.has(FINE_TUNE_JOBS, "team", "tone")
    assert not watching.watches.filling("team")
    await until(lambda: watching.filled != [])
    assert watching.filled == [None]


async def test_a_namespace_without_rights_holds_up_no_other(api: ApiServer, start: Start) -> None:
    refuse(api, "closed", 403, *OWNERS, JOBS)
    await api.put(FINE_TUNE_JOBS, "open", "tone")
    await api.put(FINE_TUNE_JOBS, "closed", "mood")
    watching = start("open", "closed")
    await watching.warm()
    assert watching.has(FINE_TUNE_JOBS, "open", "tone")
    assert not watching.watches.filling("open")
    # Nothing there is decided on before all of it is known.
    assert watching.watches.filling("closed")
    api.refused.clear()
    await until(lambda: watching.has(FINE_TUNE_JOBS, "closed", "mood"))
    await until(lambda: "closed" in watching.filled)
    assert not watching.watches.filling("closed")


async def test_namespaces_by_their_labels(api: ApiServer, start: Start) -> None:
    await api.put(NAMESPACES, "", "a")
    await api.put(FINE_TUNE_JOBS, "a", "tone")
    await api.put(FINE_TUNE_JOBS, "b", "mood")
    watching = start("named", selector="luthier.dev/serve=true")
    await watching.warm()
    assert watching.has(FINE_TUNE_JOBS, "a", "tone")
    assert not watching.has(FINE_TUNE_JOBS, "b", "mood")
    assert api.count("/api/v1/namespaces?", "labelSelector=luthier.dev") == 2
    await api.put(NAMESPACES, "", "b")
    await until(lambda: watching.has(FINE_TUNE_JOBS, "b", "mood"))

    watching.told.clear()
    # The namespaces' own, and five in each: named, a and b.
    await until(lambda: api.watching == 16)
    assert not watching.watches.filling("b")
    # The label is taken away: to the watch it is as if the namespace were deleted.
    await api.delete(NAMESPACES, "", "b")
    await until(lambda: not watching.has(FINE_TUNE_JOBS, "b", "mood"))
    assert watching.told == ["mood"]
    late = await api.put(FINE_TUNE_JOBS, "b", "mood")
    assert not watching.store.put(FINE_TUNE_JOBS, late)
    await until(lambda: api.watching == 11)

    await api.put(NAMESPACES, "", "b")
    await until(lambda: watching.has(FINE_TUNE_JOBS, "b", "mood"))


async def test_an_optional_kind_is_watched_once_it_is_wanted_and_there(
    api: ApiServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "LOOK_SECONDS", 0.05)
    watching = start("team")
    await watching.warm()
    watches = watching.watches
    assert watches.installed(WORKLOADS) is None
    assert api.count("kueue") == 0
    watches.want(WORKLOADS)
    await until(lambda: watches.installed(WORKLOADS) is False)

    await api.put(FINE_TUNE_JOBS, "team", "tone", metadata={"uid": "owner"})
    job = {"uid": "job", "labels": {UID_LABEL: "owner"}}
    await api.put(JOBS, "team", "tone-1", metadata=job)
    controlled = {"ownerReferences": [{"uid": "job", "controller": True}]}
    await api.put(WORKLOADS, "team", "w", metadata=controlled)
    # It prefers a version that we don't know, and serves one that we do.
    api.groups["kueue.x-k8s.io"] = {"v2": ["workloads"], "v1beta1": ["workloads"]}
    await until(lambda: watching.has(WORKLOADS, "team", "w"))
    assert watches.installed(WORKLOADS) is True
    served = watches.served(WORKLOADS)
    assert served is not None
    assert served.version == "v1beta1"
    assert watching.store.children(WORKLOADS, "team", "job")

    # Another version, and then none.
    api.groups["kueue.x-k8s.io"] = {"v1beta2": ["workloads"]}
    refuse(api, "team", 404, served)
    await api.cut()
    await until(lambda: getattr(watches.served(WORKLOADS), "version", "") == "v1beta2")
    await until(lambda: watching.has(WORKLOADS, "team", "w"))
    api.groups.clear()
    now = watches.served(WORKLOADS)
    assert now is not None
    refuse(api, "team", 404, now)
    await api.cut()
    await until(lambda: watches.installed(WORKLOADS) is False)
    await until(lambda: not watching.has(WORKLOADS, "team", "w"))


async def test_only_a_version_that_we_do_not_know(api: ApiServer, start: Start) -> None:
    api.groups["kueue.x-k8s.io"] = {"v7": ["workloads"], "v8": ["queues"]}
    watching = start()
    watching.watches.want(WORKLOADS)
    await until(lambda: watching.watches.installed(WORKLOADS) is True)
    await until(lambda: api.count("/apis/kueue.x-k8s.io/v7/workloads", "watch") == 1)


async def test_an_optional_kind_holds_up_nothing(api: ApiServer, start: Start) -> None:
    api.groups["kueue.x-k8s.io"] = {"v1beta1": ["workloads"]}
    api.refused["/apis/kueue.x-k8s.io/v1beta1/workloads"] = 403
    watching = start()
    watching.watches.want(WORKLOADS)
    await watching.warm()
    assert not watching.watches.filling("team")


async def test_what_ends_one_reflector_ends_them_all(api: ApiServer, start: Start) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    watching = start("team")
    await watching.warm()
    await until(lambda: api.watching == 5)
    api.version, api.oldest = 50, 1_000
    await api.cut()
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(watching.task, 10)
    assert all(isinstance(it, VersionsWentBackError) for it in causes(raised.value))


async def test_jobsets_are_looked_for_from_the_start_and_watched_when_they_come(
    api: ApiServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "LOOK_SECONDS", 0.05)
    await api.put(JOB_SETS, "team", "tone-1", metadata={"labels": {KIND_LABEL: "FineTuneJob"}})
    watching = start("team")
    watches = watching.watches
    assert watches.watched(JOB_SETS, "team") is None, "it isn't known yet"
    await watching.warm()
    await until(lambda: watches.watched(JOB_SETS, "team") is False)
    assert api.count("jobsets") == 0

    # Who waits for them is told when they are all in the store.
    await until(lambda: watching.filled != [])
    watching.filled.clear()
    api.groups["jobset.x-k8s.io"] = {"v1alpha2": ["jobsets"]}
    await until(lambda: watches.watched(JOB_SETS, "team") is True)
    assert watching.has(JOB_SETS, "team", "tone-1")
    assert api.count("jobsets", "labelSelector=luthier.dev") > 0
    await until(lambda: watching.filled == ["team"])

    api.groups.clear()
    refuse(api, "team", 404, JOB_SETS)
    await api.cut()
    await until(lambda: watches.watched(JOB_SETS, "team") is False)
    assert not watching.has(JOB_SETS, "team", "tone-1")
    assert "tone-1" in watching.told


async def test_jobsets_of_a_version_that_we_cannot_write_are_none(
    api: ApiServer, start: Start
) -> None:
    api.groups["jobset.x-k8s.io"] = {"v1": ["jobsets"]}
    watching = start()
    await until(lambda: watching.watches.watched(JOB_SETS, "team") is False)


@pytest.mark.parametrize("namespaces", [(), ("team",)])
async def test_jobsets_that_may_not_be_read_hold_up_nothing(
    api: ApiServer, start: Start, namespaces: tuple[str, ...]
) -> None:
    api.groups["jobset.x-k8s.io"] = {"v1alpha2": ["jobsets"]}
    api.refused[JOB_SETS.path(*namespaces)] = 403
    watching = start(*namespaces)
    await watching.warm()
    assert not watching.watches.filling("team")
    # Creating one is refused by the API server, in its own words.
    await until(lambda: watching.watches.watched(JOB_SETS, "team") is True)


async def test_jobsets_that_cannot_be_listed_now_are_not_known(
    api: ApiServer, start: Start
) -> None:
    api.groups["jobset.x-k8s.io"] = {"v1alpha2": ["jobsets"]}
    refuse(api, "team", 500, JOB_SETS)
    watching = start("team")
    await watching.warm()
    await until(lambda: api.count("jobsets") > 0)
    assert watching.watches.watched(JOB_SETS, "team") is None
    api.refused.clear()
    await until(lambda: watching.watches.watched(JOB_SETS, "team") is True)
