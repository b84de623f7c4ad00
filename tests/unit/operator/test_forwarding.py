"""Reports that meet a standby, over real servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from luthier_api.progress import MAX_REPORT_BYTES, PROGRESS_ROUTE
from luthier_operator import forwarding
from luthier_operator.forwarding import FORWARDED_HEADER, Forward, receiver_url
from luthier_operator.http import progress_app, serve
from luthier_operator.tokens import WRONG_BURST

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Start = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Serves a handler as the port for reports; returns its URL."""
    async with AsyncExitStack() as stack:

        async def run(handler: Handler) -> str:
            async def handle(request: web.Request) -> web.StreamResponse:
                return await handler(request)

            def routes(app: web.Application) -> None:
                app.router.add_post(PROGRESS_ROUTE, handle)

            served = await serve(progress_app(routes), 0, host="127.0.0.1")
            stack.push_async_callback(served.cleanup)
            return f"http://127.0.0.1:{served.port}"

        yield run


class Leader:
    """Keeps what it gets, and answers as told."""

    def __init__(self, status: int = 204, **answer: Any) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self._status, self._answer = status, answer

    async def __call__(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        if not self._answer:
            return web.Response(status=self._status)
        return web.json_response(self._answer, status=self._status)


@pytest.fixture
async def standby(start: Start) -> AsyncIterator[Callable[[str | None], Awaitable[str]]]:
    """A standby by the URL of its leader."""
    async with AsyncExitStack() as stack:

        async def run(leader: str | None) -> str:
            forward = Forward(lambda: leader)
            stack.push_async_callback(forward.close)
            return await start(forward)

        yield run


Standby = Callable[[str | None], Awaitable[str]]


async def post(
    url: str, body: bytes = b"{}", **headers: str
) -> tuple[int, dict[str, Any] | None, str | None]:
    """Status, JSON, and Retry-After."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + PROGRESS_ROUTE, data=body, headers=headers) as answer,
    ):
        told = await answer.json() if answer.content_type == "application/json" else None
        return answer.status, told, answer.headers.get("Retry-After")


def test_pods_of_either_family_of_addresses_are_reached() -> None:
    assert receiver_url("10.0.0.5", 8090) == "http://10.0.0.5:8090"
    assert receiver_url("fd00::5", 8090) == "http://[fd00::5]:8090"


async def test_the_leader_gets_it_as_it_came(start: Start, standby: Standby) -> None:
    leader = Leader()
    url = await standby(await start(leader))
    assert (await post(url, b'{"a": 1}', Authorization="Bearer me"))[0] == 204
    [(headers, body)] = leader.got
    assert body == b'{"a": 1}'
    assert headers["Authorization"] == "Bearer me"
    assert FORWARDED_HEADER in headers


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 503])
async def test_its_answer_is_the_answer(start: Start, standby: Standby, status: int) -> None:
    url = await standby(await start(Leader(status, message="so it is")))
    assert (await post(url))[:2] == (status, {"message": "so it is"})


async def test_without_a_leader_the_next_report_will_do(standby: Standby) -> None:
    status, told, retry = await post(await standby(None))
    assert (status, retry) == (503, "2")
    assert told == {"message": "no replica leads at the moment: try again"}


async def test_two_standbys_that_take_each_other_for_the_leader_do_not_loop(
    start: Start,
) -> None:
    urls: dict[str, str] = {}
    counted = 0

    def counting(forward: Forward) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            nonlocal counted
            counted += 1
            return await forward(request)

        return handle

    one, two = Forward(lambda: urls["two"]), Forward(lambda: urls["one"])
    urls["one"], urls["two"] = await start(counting(one)), await start(counting(two))
    status, told, retry = await post(urls["one"])
    assert (status, retry, counted) == (503, "2", 2)
    assert told == {"message": "this replica doesn't lead any more: try again"}
    await one.close()
    await two.close()


async def test_a_dead_leader_is_told_and_takes_no_time(start: Start, standby: Standby) -> None:
    url = await standby("http://127.0.0.1:1")
    began = asyncio.get_running_loop().time()
    status, told, retry = await post(url)
    assert (status, retry) == (503, "2")
    assert told == {"message": "the replica that leads doesn't answer: try again"}
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_leader_that_hangs_holds_a_few_and_for_a_while(
    start: Start, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "SECONDS", 1.0)
    monkeypatch.setattr(forwarding, "MOST", 30)
    reached = 0

    async def hang(request: web.Request) -> web.Response:
        nonlocal reached
        reached += 1
        await asyncio.sleep(30)
        return web.Response()

    url = await standby(await start(hang))
    answers = await asyncio.gather(*(post(url) for _ in range(40)))
    assert {status for status, _, _ in answers} == {503}
    # Whoever waited gives up at the same time; one or the other may get a turn just before.
    assert forwarding.AT_ONCE <= reached < forwarding.MOST
    words = [told["message"] for _, told, _ in answers if told]
    assert sum("too many reports wait" in it for it in words) == 10
    # And then there is room again.
    assert (await post(url))[1] == {"message": "the replica that leads doesn't answer: try again"}


async def test_a_burst_waits_for_its_turn(start: Start, standby: Standby) -> None:
    at_once = most = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return web.Response(status=204)

    url = await standby(await start(slow))
    answers = await asyncio.gather(*(post(url) for _ in range(60)))
    assert {status for status, _, _ in answers} == {204}
    assert most == forwarding.AT_ONCE <= WRONG_BURST


async def test_a_report_that_is_too_long_goes_nowhere(start: Start, standby: Standby) -> None:
    leader = Leader()
    url = await standby(await start(leader))
    status, told, _ = await post(url, b"x" * (MAX_REPORT_BYTES + 1))
    assert status == 413
    assert told == {"message": f"a report has at most {MAX_REPORT_BYTES} bytes"}
    assert leader.got == []
    assert (await post(url, b"x" * MAX_REPORT_BYTES))[0] == 204


async def test_redirects_are_not_followed(start: Start, standby: Standby) -> None:
    elsewhere = Leader()
    to = await start(elsewhere) + PROGRESS_ROUTE

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(to)

    assert (await post(await standby(await start(redirect))))[0] == 307
    assert elsewhere.got == []
