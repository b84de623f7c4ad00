"""A list finds what a watch kept silent about."""

from typing import Any

import pytest

from luthier_operator import relist
from luthier_operator.errors import ApiUnreachableError
from luthier_operator.relist import Lister
from luthier_operator.resources import FINE_TUNE_JOBS, Obj, Resource
from luthier_operator.store import Store


class Lists:
    """Gives lists in place of an API server, whose watches can't be made to skip an event."""

    def __init__(self) -> None:
        self.objects: dict[Resource, list[Obj]] = {}
        self.failures = 0

    async def list_all(self, resource: Resource, *_: Any, **__: Any) -> tuple[list[Obj], int]:
        if self.failures:
            self.failures -= 1
            raise ApiUnreachableError("refused")
        return self.objects.get(resource, []), 100


def tone(version: int = 5, uid: str = "u1") -> Obj:
    return {
        "metadata": {
            "namespace": "team",
            "name": "tone",
            "uid": uid,
            "resourceVersion": str(version),
        }
    }


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
def lists() -> Lists:
    return Lists()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def lister(
    lists: Lists, store: Store, changed: list[str], monkeypatch: pytest.MonkeyPatch
) -> Lister:
    monkeypatch.setattr(relist, "WATCH_GRACE_SECONDS", 0)
    monkeypatch.setattr(relist, "FIRST_PAUSE_SECONDS", 0.001)
    seen = lambda _, obj: changed.append(obj["metadata"]["uid"])  # noqa: E731
    return Lister(lists, store, (), seen)  # type: ignore[arg-type]


async def test_the_first_list_waits_for_an_api_server(
    lister: Lister, lists: Lists, store: Store, changed: list[str]
) -> None:
    lists.failures = 3
    lists.objects[FINE_TUNE_JOBS] = [tone()]
    await lister.fill()
    assert changed == ["u1"]
    assert store.get(FINE_TUNE_JOBS, ("team", "tone"))


async def test_a_quiet_relist_changes_nothing(
    lister: Lister, lists: Lists, changed: list[str]
) -> None:
    lists.objects[FINE_TUNE_JOBS] = [tone()]
    await lister.fill()
    changed.clear()
    await lister.relist(FINE_TUNE_JOBS)
    assert changed == []
    assert lister.dead == []


async def test_a_ghost_is_buried(
    lister: Lister, lists: Lists, store: Store, changed: list[str]
) -> None:
    store.put(FINE_TUNE_JOBS, tone())
    await lister.relist(FINE_TUNE_JOBS)
    assert changed == ["u1"]
    assert store.get(FINE_TUNE_JOBS, ("team", "tone")) is None


async def test_a_watch_that_stays_silent_twice_is_dead_until_it_speaks(
    lister: Lister, lists: Lists
) -> None:
    for version in (5, 6):
        assert lister.dead == []
        lists.objects[FINE_TUNE_JOBS] = [tone(version)]
        await lister.relist(FINE_TUNE_JOBS)
    assert lister.dead == ["finetunejobs"]
    await lister.relist(FINE_TUNE_JOBS)
    assert lister.dead == []
