"""Electors on a real API server: never two at once, and how soon another one leads."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import pairwise

import pytest
from clusters import own
from integration.kube import Kube
from integration.operatorprocess import make_lease
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

import luthier_cluster
from luthier_operator.cluster import Cluster
from luthier_operator.config import Election
from luthier_operator.errors import ApiUnreachableError
from luthier_operator.leader import Elector
from luthier_operator.resources import Key, Obj, Resource

ELECTION = Election("luthier-system", "luthier", lease_seconds=6, renew_seconds=4, retry_seconds=1)
# A standby's look, a quarter of a retry with its jitter, and what a busy machine adds.
LOOK = 2.0


@pytest.fixture(scope="module")
def control_plane() -> Iterator[luthier_cluster.Cluster]:
    """One that may lose its API server."""
    with luthier_cluster.Cluster(own("election"), "control-plane") as cluster:
        make_lease(Kube(str(cluster.kubeconfig)))
        yield cluster


class Link(Cluster):
    """A replica's connection, which can be cut as by its death."""

    cut = False

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        self._check()
        return await super().get(resource, key)

    async def replace(self, resource: Resource, obj: Obj) -> Obj:
        self._check()
        return await super().replace(resource, obj)

    def _check(self) -> None:
        if self.cut:
            raise ApiUnreachableError("cut")


class Replica:
    """An elector with a connection of its own, and when it led."""

    def __init__(self, link: Link, name: str) -> None:
        self.link = link
        self.elector = Elector(link, ELECTION, name, f"http://{name}:8090")
        self.led: list[tuple[float, float]] = []
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(self.elector.run(self._lead))

    async def _lead(self) -> None:
        began = time.monotonic()
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.begun.clear()
            self.led.append((began, time.monotonic()))

    async def leads(self, within: float) -> float:
        """Wait until it leads; seconds that it took."""
        began = time.monotonic()
        async with asyncio.timeout(within):
            await self.begun.wait()
        return time.monotonic() - began

    async def end(self) -> None:
        """SIGTERM."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


Start = Callable[[str], Awaitable[Replica]]


@pytest.fixture
async def start(
    control_plane: luthier_cluster.Cluster,
) -> AsyncIterator[Start]:
    """Starts replicas; at the end no two of them have led at once."""
    replicas: list[Replica] = []

    async def run(name: str) -> Replica:
        configuration = Configuration()
        await load_kube_config(str(control_plane.kubeconfig), client_configuration=configuration)
        replicas.append(Replica(Link(configuration), name))
        return replicas[-1]

    yield run
    for replica in replicas:
        replica.link.cut = False
        await replica.end()
        await replica.link.close()
    spans = sorted(span for replica in replicas for span in replica.led)
    assert spans
    for (_, end), (begin, _) in pairwise(spans):
        assert end <= begin, spans


async def test_given_up_the_lease_is_taken_at_once(start: Start) -> None:
    one = await start("one")
    await one.leads(LOOK)
    two = await start("two")
    await asyncio.sleep(3)
    assert one.elector.leading
    assert not two.elector.leading
    assert (two.elector.leader, two.elector.receiver) == ("one", "http://one:8090")
    await one.end()
    assert await two.leads(LOOK) < 1


async def test_a_dead_holders_lease_is_taken_when_it_has_run_out(start: Start) -> None:
    one = await start("one")
    await one.leads(LOOK)
    two = await start("two")
    await asyncio.sleep(2)
    one.link.cut = True  # cancelled, it can give nothing up
    await one.end()
    took = await two.leads(ELECTION.lease_seconds + LOOK)
    assert took > ELECTION.lease_seconds - ELECTION.retry_seconds - LOOK


async def test_one_that_is_cut_off_steps_down_first_and_competes_again(start: Start) -> None:
    one = await start("one")
    await one.leads(LOOK)
    two = await start("two")
    await asyncio.sleep(2)
    one.link.cut = True
    await two.leads(ELECTION.lease_seconds + LOOK)
    assert len(one.led) == 1
    one.link.cut = False
    await asyncio.sleep(1)
    assert one.elector.receiver == "http://two:8090"
    await two.end()
    await one.leads(LOOK)


async def test_many_that_start_at_once_have_one_leader(start: Start) -> None:
    replicas = [await start(f"r{number}") for number in range(8)]
    await asyncio.sleep(2)
    assert sum(replica.elector.leading for replica in replicas) == 1


async def test_without_an_api_server_all_step_down_and_one_leads_after(
    start: Start, control_plane: luthier_cluster.Cluster
) -> None:
    one, two = await start("one"), await start("two")
    await asyncio.sleep(1)
    assert one.elector.leading != two.elector.leading
    began = time.monotonic()
    await asyncio.to_thread(control_plane.kill, "kube-apiserver")
    await asyncio.sleep(max(0.0, began + ELECTION.renew_seconds + 0.5 - time.monotonic()))
    assert not one.elector.leading
    assert not two.elector.leading
    assert len(one.led) + len(two.led) == 1
    await asyncio.to_thread(control_plane.start, "kube-apiserver")
    async with asyncio.timeout(ELECTION.lease_seconds + 5 * LOOK):
        await asyncio.wait(
            [asyncio.ensure_future(it.begun.wait()) for it in (one, two)],
            return_when=asyncio.FIRST_COMPLETED,
        )
