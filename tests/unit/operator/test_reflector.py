"""The store stays like the API server, whatever happens to the watch."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client import REGISTRY
from unit.operator.apiserver import ApiServer, client_of

from luthier_operator import cluster as cluster_module
from luthier_operator.cluster import PAGE, Cluster
from luthier_operator.errors import VersionsWentBackError
from luthier_operator.reflector import Pauses, Reflector
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, Obj, Resource
from luthier_operator.store import Store

QUICK = Pauses(first=0.01, most=0.05, most_denied=0.05, lasting=1.0)
PATH = "/apis/luthier.dev/v1alpha1/namespaces/team/finetunejobs"


class Watched:
    """A reflector at work, and what it told."""

    def __init__(self, cluster: Cluster, namespace: str | None = "team") -> None:
        self.store, self.told, self.absent = Store(), list[str](), 0
        self.reflector = Reflector(
            cluster,
            self.store,
            FINE_TUNE_JOBS,
            namespace,
            self._changed,
            pauses=QUICK,
            absent=self._absent,
        )
        self.task = asyncio.create_task(self.reflector.run())

    def _changed(self, _: Resource, obj: Obj) -> None:
        self.told.append(obj["metadata"]["name"])

    def _absent(self) -> None:
        self.absent += 1

    def names(self) -> list[str]:
        return sorted(key[1] for key, _ in self.store.all(FINE_TUNE_JOBS))

    async def synced(self) -> None:
        await asyncio.wait_for(self.reflector.synced.wait(), 10)


@pytest.fixture
def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def watched(api: ApiServer) -> AsyncIterator[Watched]:
    async with client_of(api) as cluster:
        watched = Watched(cluster)
        yield watched
        watched.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, VersionsWentBackError):
            await watched.task


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - several conditions, none with an event
            await asyncio.sleep(0.005)


def up(namespace: str = "team") -> float | None:
    labels = {"resource": "finetunejobs", "namespace": namespace}
    return REGISTRY.get_sample_value("luthier_operator_watch_up", labels)


async def test_it_lists_by_pages_and_follows(api: ApiServer, watched: Watched) -> None:
    for number in range(PAGE + 1):
        await api.put(FINE_TUNE_JOBS, "team", f"t{number}")
    await watched.synced()
    assert len(watched.names()) == PAGE + 1
    await api.put(FINE_TUNE_JOBS, "team", "new")
    await until(lambda: "new" in watched.names())
    await api.delete(FINE_TUNE_JOBS, "team", "new")
    await until(lambda: "new" not in watched.names())
    assert watched.told.count("new") == 2
    assert up() == 1
    assert api.count("limit") == 2


async def test_a_cut_watch_goes_on_from_where_it_was(api: ApiServer, watched: Watched) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "before")
    await watched.synced()
    await until(lambda: api.watching == 1)
    for name in ("a", "b", "c"):
        await api.cut()
        await api.put(FINE_TUNE_JOBS, "team", name)
    await until(lambda: watched.names() == ["a", "b", "before", "c"])
    assert api.count("limit") == 1
    assert watched.told == ["before", "a", "b", "c"]


async def test_what_was_deleted_in_a_gap_is_found_by_the_next_list(
    api: ApiServer, watched: Watched
) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "stays")
    await api.put(FINE_TUNE_JOBS, "team", "goes")
    await watched.synced()
    await until(lambda: api.watching == 1)
    watched.told.clear()
    api.lose(FINE_TUNE_JOBS, "team", "goes")
    await api.forget_history()
    await until(lambda: watched.names() == ["stays"])
    assert watched.told == ["goes"]


async def test_a_watch_that_falls_silent_is_given_up(
    api: ApiServer, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "SILENCE_SECONDS", 0.2)
    await watched.synced()
    api.silent = True
    await api.put(FINE_TUNE_JOBS, "team", "unseen")
    await until(lambda: watched.names() == ["unseen"])


async def test_while_the_api_server_is_away_it_waits(
    api: ApiServer, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    api.away = True
    caplog.set_level(logging.INFO)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(watched.reflector.settled.wait(), 0.3)
    assert not watched.reflector.settled.is_set()
    assert up() == 0
    api.away = False
    await watched.synced()
    assert up() == 1
    told = [it.message for it in caplog.records if "watch" in it.message]
    assert [it.split(" resource")[0] for it in told] == ["watch down (unreachable)", "watch up"]


async def test_a_namespace_that_lets_nobody_in_holds_up_nobody(
    api: ApiServer, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    api.refused[PATH] = 403
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    await asyncio.wait_for(watched.reflector.settled.wait(), 10)
    assert not watched.reflector.synced.is_set()
    await until(lambda: api.count("limit") > 3)
    assert up() == 0
    assert len([it for it in caplog.records if "forbidden" in it.message]) == 1
    del api.refused[PATH]
    await watched.synced()
    assert watched.names() == ["tone"]


async def test_the_whole_cluster_forbidden_is_waited_for(api: ApiServer) -> None:
    api.refused["/apis/luthier.dev/v1alpha1/finetunejobs"] = 403
    async with client_of(api) as cluster:
        watched = Watched(cluster, None)
        await until(lambda: api.count("limit") > 2)
        assert not watched.reflector.settled.is_set()
        watched.task.cancel()
        await asyncio.wait([watched.task])


async def test_a_right_that_is_withdrawn_drops_nothing(api: ApiServer, watched: Watched) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    await watched.synced()
    api.refused[PATH] = 403
    await api.forget_history()
    await until(lambda: up() == 0)
    assert watched.names() == ["tone"]


async def test_a_kind_that_goes_and_comes_back(api: ApiServer, watched: Watched) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    await watched.synced()
    api.refused[PATH] = 404
    await api.cut()
    await until(lambda: watched.names() == [])
    assert watched.absent >= 1
    del api.refused[PATH]
    # It may have been absent for a moment only: with the same objects.
    await until(lambda: watched.names() == ["tone"])


async def test_a_kind_that_is_not_there_yet_is_waited_for(api: ApiServer, watched: Watched) -> None:
    api.refused[PATH] = 404
    await until(lambda: watched.absent > 1)
    assert not watched.reflector.settled.is_set()
    del api.refused[PATH]
    await watched.synced()


async def test_versions_that_go_back_end_it(api: ApiServer, watched: Watched) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    await watched.synced()
    await until(lambda: api.watching == 1)
    # Restored from a backup: the versions of then, and no history.
    api.version = 90
    api.refused[PATH] = 500
    await api.cut()
    await until(lambda: up() == 0)
    api.refused.clear()
    api.oldest = 1_000
    with pytest.raises(VersionsWentBackError, match="put back to an older state"):
        await asyncio.wait_for(watched.task, 10)


async def test_the_answer_to_a_write_is_newer_than_a_list_of_a_restored_state(
    api: ApiServer, watched: Watched
) -> None:
    obj = await api.put(FINE_TUNE_JOBS, "team", "tone")
    await watched.synced()
    await until(lambda: api.watching == 1)
    watched.store.put(
        FINE_TUNE_JOBS, obj | {"metadata": obj["metadata"] | {"resourceVersion": "500"}}
    )
    await api.forget_history()
    with pytest.raises(VersionsWentBackError):
        await asyncio.wait_for(watched.task, 10)


async def test_older_objects_in_a_list_of_a_newer_version_end_it(
    api: ApiServer, watched: Watched
) -> None:
    obj = await api.put(FINE_TUNE_JOBS, "team", "tone")
    await watched.synced()
    await until(lambda: api.watching == 1)
    changed = obj | {"metadata": obj["metadata"] | {"resourceVersion": "105"}}
    watched.store.put(FINE_TUNE_JOBS, changed)
    # Restored with versions that are higher than all before, and watches that are too old.
    api.version = 1_000_000
    await api.forget_history()
    with pytest.raises(VersionsWentBackError, match="has version 101 in a list of version 1000001"):
        await asyncio.wait_for(watched.task, 10)


async def test_a_bookmark_tells_how_far_the_store_is(api: ApiServer, watched: Watched) -> None:
    await watched.synced()
    await until(lambda: api.watching == 1)
    late = {"metadata": {"namespace": "team", "name": "gone", "uid": "u", "resourceVersion": "101"}}
    await api.bookmark(FINE_TUNE_JOBS, "team")

    def refused() -> bool:
        watched.store.remove(FINE_TUNE_JOBS, late)
        return not watched.store.put(FINE_TUNE_JOBS, late)

    await until(refused)


async def test_children_are_watched_by_the_label_of_ours(api: ApiServer) -> None:
    async with client_of(api) as cluster:
        reflector = Reflector(cluster, Store(), JOBS, None, lambda *_: None)
        task = asyncio.create_task(reflector.run())
        await asyncio.wait_for(reflector.synced.wait(), 10)
        await until(lambda: api.watching == 1)
        assert all("labelSelector=luthier.dev" in it for it in api.requests)
        assert api.count("watch=true", "allowWatchBookmarks=true", "timeoutSeconds") == 1
        task.cancel()
        await asyncio.wait([task])


def test_pauses_grow_to_their_most() -> None:
    pauses = Pauses()
    assert pauses.after(0, denied=True) == 0
    assert pauses.after(1, denied=False) <= 0.25
    assert 5 <= pauses.after(30, denied=False) <= 10
    assert 30 <= pauses.after(30, denied=True) <= 60
