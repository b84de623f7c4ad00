"""Who leads, in virtual time: an API server of one Lease, and replicas that are cut off and end."""

import asyncio
import contextlib
import copy
import logging
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from unit.operator import virtualtime

from luthier_operator.config import Election
from luthier_operator.errors import ApiError, ApiUnreachableError, VersionsWentBackError
from luthier_operator.leader import RECEIVER_ANNOTATION, Elector, StuckError
from luthier_operator.resources import Key, Obj, Resource

ELECTION = Election("luthier-system", "luthier", 15, 10, 2)
# A look of a standby, and its request.
LOOK = 0.7


class Server:
    """One Lease, as the chart makes it."""

    def __init__(self) -> None:
        self.version = 1
        self.lease: Obj | None = {"metadata": {"namespace": "luthier-system", "name": "luthier"}}

    def get(self) -> Obj | None:
        if self.lease is None:
            return None
        lease = copy.deepcopy(self.lease)
        lease["metadata"]["resourceVersion"] = str(self.version)
        return lease

    def replace(self, obj: Obj) -> Obj:
        if self.lease is None:
            raise ApiError(404, "NotFound", "leases.coordination.k8s.io not found")
        if obj["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "the object has been modified")
        self.version += 1
        self.lease = copy.deepcopy(obj)
        return self.get() or {}

    @property
    def spec(self) -> Obj:
        return dict((self.lease or {}).get("spec") or {})


class Link:
    """One replica's way to the server: requests take a moment, fail or get stuck."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.cut = False
        self.stuck = False
        self.reads = 0

    async def _way(self) -> None:
        await asyncio.sleep(0.01)
        if self.stuck:
            await asyncio.sleep(3600)
        if self.cut:
            raise ApiUnreachableError("connection refused")

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        assert (resource.plural, key) == ("leases", ("luthier-system", "luthier"))
        self.reads += 1
        await self._way()
        return self._server.get()

    async def replace(self, resource: Resource, obj: Obj) -> Obj:
        await self._way()
        return self._server.replace(obj)


class Replica:
    """A process: its elector, and when it led."""

    def __init__(
        self, server: Server, name: str, clock: Callable[[float], float] = lambda now: now
    ) -> None:
        self.link = Link(server)
        loop = asyncio.get_running_loop()
        self.elector = Elector(
            self.link, ELECTION, name, f"http://{name}:8090", lambda: clock(loop.time())
        )
        self.led: list[tuple[float, float]] = []
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(self.elector.run(self.lead))

    async def lead(self) -> None:
        began = asyncio.get_running_loop().time()
        self.begun.set()
        try:
            await asyncio.sleep(10_000_000)
        finally:
            self.begun.clear()
            self.led.append((began, asyncio.get_running_loop().time()))

    async def end(self) -> None:
        """SIGTERM."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def die(self) -> None:
        """SIGKILL: nothing is given up."""
        self.link.cut = True
        await self.end()

    async def leads(self, within: float) -> float:
        """Wait until it leads; seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(within):
            await self.begun.wait()
        return loop.time() - began


def never_two(*replicas: Replica) -> None:
    spans = sorted(span for replica in replicas for span in replica.led)
    for (_, end), (begin, _) in pairwise(spans):
        assert end <= begin, spans


def simulated(test: Callable[[Server], Awaitable[None]]) -> None:
    async def body() -> None:
        await test(Server())

    virtualtime.run(body())


def test_one_leads_and_the_other_knows_whom_to_forward_to() -> None:
    async def test(server: Server) -> None:
        one, two = Replica(server, "one"), Replica(server, "two")
        await one.leads(1)
        await asyncio.sleep(120)
        assert one.elector.leading
        assert not two.elector.leading
        assert two.elector.leader == one.elector.leader == "one"
        assert two.elector.receiver == "http://one:8090"
        assert one.elector.receiver is None
        assert server.spec["leaseDurationSeconds"] == 15
        assert server.spec["leaseTransitions"] == 1
        # One write in two seconds, and none by the other, which looks four times as often.
        assert server.version < 70
        assert one.link.reads < 5
        assert two.link.reads < 250

    simulated(test)


def test_one_that_ends_gives_the_lease_up() -> None:
    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        two = Replica(server, "two")
        await asyncio.sleep(60)
        await one.end()
        assert server.spec["holderIdentity"] == ""
        assert server.spec["leaseDurationSeconds"] == 1
        assert RECEIVER_ANNOTATION not in (server.lease or {})["metadata"]["annotations"]
        assert await two.leads(LOOK) < LOOK
        await two.end()
        never_two(one, two)

    simulated(test)


def test_a_standby_that_ends_leaves_the_leader_alone() -> None:
    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        two = Replica(server, "two")
        await asyncio.sleep(5)
        await two.end()
        assert server.spec["holderIdentity"] == "one"
        assert one.elector.leading

    simulated(test)


def test_a_dead_ones_lease_runs_out() -> None:
    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        two = Replica(server, "two")
        await asyncio.sleep(60)
        await one.die()
        took = await two.leads(15 + LOOK)
        assert took > 15 - 2 - LOOK, "the last renewal was up to two seconds before"
        assert server.spec["leaseTransitions"] == 2

    simulated(test)


def test_a_new_process_waits_for_a_lease_whose_age_it_does_not_know() -> None:
    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        await one.die()
        await asyncio.sleep(14)
        # A second before it would run out for who saw it renewed.
        two = Replica(server, "two")
        assert await two.leads(15 + LOOK) >= 15

    simulated(test)


@pytest.mark.parametrize("how", ["cut", "stuck"])
def test_one_that_is_cut_off_steps_down_before_another_leads(how: str) -> None:
    async def test(server: Server) -> None:
        loop = asyncio.get_running_loop()
        one = Replica(server, "one")
        await one.leads(1)
        two = Replica(server, "two")
        await asyncio.sleep(60)
        setattr(one.link, how, True)
        began = loop.time()
        await two.leads(15 + LOOK)
        [(_, stepped_down)] = one.led
        assert 8 <= stepped_down - began <= 10
        assert loop.time() - stepped_down > 4
        setattr(one.link, how, False)
        await asyncio.sleep(60)
        assert two.elector.leading
        assert not one.elector.leading
        assert one.elector.receiver == "http://two:8090"
        await one.end()
        await two.end()
        never_two(one, two)

    simulated(test)


def test_without_an_api_server_nobody_leads_and_after_it_one_does() -> None:
    async def test(server: Server) -> None:
        one, two = Replica(server, "one"), Replica(server, "two")
        await asyncio.sleep(60)
        one.link.cut = two.link.cut = True
        await asyncio.sleep(11)
        assert not one.elector.leading
        assert not two.elector.leading
        await asyncio.sleep(60)
        # Reports have nowhere to go.
        assert two.elector.receiver is one.elector.receiver is None
        one.link.cut = two.link.cut = False
        await asyncio.sleep(LOOK)
        assert one.elector.leading != two.elector.leading
        await one.end()
        await two.end()
        never_two(one, two)

    simulated(test)


def test_a_request_that_hangs_leaves_time_for_another() -> None:
    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        one.link.stuck = True
        await asyncio.sleep(6)
        one.link.stuck = False
        await asyncio.sleep(60)
        assert one.led == []

    simulated(test)


def test_wall_clocks_and_fast_clocks_make_no_second_leader() -> None:
    async def test(server: Server) -> None:
        slow = Replica(server, "slow", lambda now: 1e9 + 0.9 * now)
        await slow.leads(1)
        fast = Replica(server, "fast", lambda now: 1.1 * now - 1e9)
        await asyncio.sleep(60)
        assert slow.elector.leading
        slow.link.cut = True
        await fast.leads(20)
        await slow.end()
        await fast.end()
        never_two(slow, fast)

    simulated(test)


def test_who_finds_another_ones_name_steps_down_at_once() -> None:
    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        lease = server.get() or {}
        lease["spec"]["holderIdentity"] = "somebody"
        server.replace(lease)
        await asyncio.sleep(2.1)
        assert not one.elector.leading
        assert len(one.led) == 1
        assert one.elector.leader == "somebody"
        assert await one.leads(15 + LOOK) > 15 - 3, "it competes again"

    simulated(test)


def test_a_lease_of_before_ends_leader_and_standby() -> None:
    """As after a restore of etcd: watches from a version that there isn't tell nothing."""

    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        two = Replica(server, "two")
        await asyncio.sleep(60)
        version, lease = server.version, copy.deepcopy(server.lease)
        await asyncio.sleep(60)
        one.link.cut = two.link.cut = True
        await asyncio.sleep(5)
        server.version, server.lease = version, lease
        one.link.cut = two.link.cut = False
        await asyncio.wait([one.task, two.task], timeout=3)
        for replica in (one, two):
            assert isinstance(replica.task.exception(), VersionsWentBackError)
        never_two(one, two)

    simulated(test)


def test_a_change_of_the_metadata_renews_nothing() -> None:
    """As an upgrade of the chart makes it, while the holder is dead."""

    async def test(server: Server) -> None:
        one = Replica(server, "one")
        await one.leads(1)
        two = Replica(server, "two")
        await asyncio.sleep(30)
        await one.die()
        for number in range(10):
            await asyncio.sleep(1)
            lease = server.get() or {}
            lease["metadata"]["labels"] = {"upgraded": str(number)}
            server.replace(lease)
        assert await two.leads(5 + LOOK) <= 5 + LOOK
        assert (server.lease or {})["metadata"]["labels"] == {"upgraded": "9"}

    simulated(test)


def test_a_missing_lease_is_told_once_with_who_makes_it(caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: Server) -> None:
        made, server.lease = server.lease, None
        with caplog.at_level(logging.WARNING):
            one = Replica(server, "one")
            await asyncio.sleep(60)
        assert [record.getMessage() for record in caplog.records] == [
            "there is no Lease luthier in namespace luthier-system: the chart makes it"
        ]
        server.lease = made
        await one.leads(LOOK)
        server.lease = None
        await asyncio.sleep(10)
        assert not one.elector.leading

    simulated(test)


async def ends() -> None:
    await asyncio.sleep(3)


async def fails() -> None:
    await asyncio.sleep(3)
    raise RuntimeError("a defect")


def elector(server: Server) -> Elector:
    clock = asyncio.get_running_loop().time
    return Elector(Link(server), ELECTION, "one", "http://one:8090", clock)


def test_the_end_of_what_leads_is_the_end_and_gives_up_the_lease() -> None:
    async def test(server: Server) -> None:
        await elector(server).run(ends)
        assert server.spec["holderIdentity"] == ""
        with pytest.raises(RuntimeError, match="a defect"):
            await elector(server).run(fails)
        assert server.spec["holderIdentity"] == ""

    simulated(test)


def test_what_does_not_end_keeps_the_lease_and_ends_the_process() -> None:
    over = False

    async def stubborn() -> None:
        while not over:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)

    async def test(server: Server) -> None:
        running = asyncio.create_task(elector(server).run(stubborn))
        await asyncio.sleep(3)
        running.cancel()
        with pytest.raises(StuckError, match="5 s"):
            await running
        assert server.spec["holderIdentity"] == "one"
        nonlocal over
        over = True

    simulated(test)


def test_a_process_that_stood_still_does_not_lead_when_it_goes_on() -> None:
    async def test(server: Server) -> None:
        stood_still = 0.0
        loop = asyncio.get_running_loop()
        one = Elector(Link(server), ELECTION, "one", "", lambda: loop.time() + stood_still)
        told: list[bool] = []

        async def lead() -> None:
            await asyncio.sleep(5)
            told.append(one.leading)
            nonlocal stood_still
            stood_still = 20.0
            # Before anybody has noticed.
            told.append(one.leading)
            await asyncio.sleep(100)

        task = asyncio.create_task(one.run(lead))
        await asyncio.sleep(6)
        task.cancel()
        assert told == [True, False]

    simulated(test)


@pytest.mark.parametrize("seed", range(5))
def test_never_two_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)

    async def test(server: Server) -> None:
        def clock() -> Callable[[float], float]:
            offset, rate = chance.uniform(-1e6, 1e6), chance.uniform(0.95, 1.05)
            return lambda now: offset + rate * now

        replicas = [Replica(server, f"r{number}", clock()) for number in range(3)]
        everyone = list(replicas)
        for number in range(3, 120):
            await asyncio.sleep(chance.expovariate(1 / 6))
            index = chance.randrange(3)
            one = replicas[index]
            match chance.choice(["cut", "cut", "stuck", "heal", "heal", "end", "die"]):
                case "cut":
                    one.link.cut = True
                case "stuck":
                    one.link.stuck = True
                case "heal":
                    one.link.cut = one.link.stuck = False
                case ended:
                    await (one.end() if ended == "end" else one.die())
                    replicas[index] = Replica(server, f"r{number}", clock())
                    everyone.append(replicas[index])
        for one in replicas:
            one.link.cut = one.link.stuck = False
        await asyncio.sleep(30)
        assert sum(one.elector.leading for one in replicas) == 1
        for one in replicas:
            await one.end()
        assert sum(len(one.led) for one in everyone) > 5
        never_two(*everyone)

    simulated(test)


def test_words_of_a_refusal_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Forbidding(Link):
        async def get(self, resource: Resource, key: Key) -> Any:
            raise ApiError(403, "Forbidden", 'cannot get resource "leases" in "luthier-system"')

    async def test(server: Server) -> None:
        clock = asyncio.get_running_loop().time
        one = Elector(Forbidding(server), ELECTION, "one", "", clock)
        task = asyncio.create_task(one.run(ends))
        await asyncio.sleep(60)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.WARNING):
        simulated(test)
    told = [it.getMessage() for it in caplog.records if "can't take or renew" in it.getMessage()]
    assert len(told) == 1
    assert 'cannot get resource "leases"' in told[0]
