"""/metrics is rendered beside the event loop, once for all who ask."""

import asyncio
import threading
import time

import aiohttp

from luthier_operator.http import health_app, metrics_app, serve
from luthier_operator.page import AGE, Page


class Renderer:
    """Stands for a render that takes its time."""

    def __init__(self) -> None:
        self.snapshots = 0
        self.threads: list[int] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def snapshot(self) -> None:
        self.snapshots += 1

    def render(self) -> bytes:
        self.threads.append(threading.get_ident())
        self.has_begun.set()
        self.may_end.wait(20)
        return str(self.snapshots).encode()


async def test_many_who_ask_at_once_cost_one_rendering() -> None:
    renderer = Renderer()
    page = Page(renderer.snapshot, renderer.render)
    asked = [asyncio.create_task(page.text()) for _ in range(60)]
    await asyncio.sleep(0)
    renderer.may_end.set()
    assert set(await asyncio.gather(*asked)) == {b"1"}
    assert renderer.threads == [renderer.threads[0]]
    assert renderer.threads[0] != threading.get_ident()


async def test_a_text_is_served_for_a_while_by_what_it_cost() -> None:
    now = 100.0

    def render() -> bytes:
        nonlocal now
        now += 2
        return str(now).encode()

    page = Page(lambda: None, render, lambda: now)
    first = await page.text()
    now += AGE * 2 - 0.1
    assert await page.text() == first
    now += 0.2
    assert await page.text() != first


async def test_probes_are_answered_while_it_is_rendered() -> None:
    renderer = Renderer()
    page = Page(renderer.snapshot, renderer.render)
    metrics = await serve(metrics_app(page), 0, host="127.0.0.1")
    health = await serve(health_app(lambda: "", lambda: ""), 0, host="127.0.0.1")
    try:
        async with aiohttp.ClientSession() as session:
            scrapes = [
                asyncio.create_task(_get(session, f"http://127.0.0.1:{metrics.port}/metrics"))
                for _ in range(20)
            ]
            assert await asyncio.to_thread(renderer.has_begun.wait, 20)
            began = time.monotonic()
            assert await _get(session, f"http://127.0.0.1:{health.port}/healthz") == b"ok"
            # The rendering stands still all the while, and would for longer than this.
            assert time.monotonic() - began < 15
            assert not any(scrape.done() for scrape in scrapes)
            renderer.may_end.set()
            # Those that connected too late for the first share the second.
            assert set(await asyncio.gather(*scrapes)) <= {b"1", b"2"}
    finally:
        renderer.may_end.set()
        await metrics.cleanup()
        await health.cleanup()


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        return await answer.read()
