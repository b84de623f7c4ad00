"""The three ports: metrics, health, progress."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from luthier_api.progress import MAX_REPORT_BYTES
from luthier_operator.connections import Limited, Limits
from luthier_operator.page import Page

Check = Callable[[], str]  # empty: all is well


def metrics_app(page: Page) -> web.Application:
    """/metrics."""

    async def scrape(_: web.Request) -> web.Response:
        answer = web.Response(body=await page.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
        # A connection's time is short (connections.py): each scrape has its own.
        answer.force_close()
        return answer

    app = web.Application()
    app.router.add_get("/metrics", scrape)
    return app


def health_app(alive: Check, ready: Check) -> web.Application:
    """/healthz fails when only a restart helps; /readyz while nothing can be done yet."""

    def answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def probe(_: web.Request) -> web.Response:
            trouble = check()
            return web.Response(text=trouble or "ok", status=503 if trouble else 200)

        return probe

    app = web.Application()
    app.router.add_get("/healthz", answer(alive))
    app.router.add_get("/readyz", answer(ready))
    return app


def progress_app(add_routes: Callable[[web.Application], None]) -> web.Application:
    """The report receiver's."""
    app = web.Application(client_max_size=MAX_REPORT_BYTES + 1)
    add_routes(app)
    return app


@dataclass(frozen=True)
class Served:
    """A port that is served."""

    runner: web.AppRunner
    server: asyncio.Server

    @property
    def port(self) -> int:
        """Its number."""
        return int(self.server.sockets[0].getsockname()[1])

    async def cleanup(self) -> None:
        """Stop listening, and end what is connected."""
        self.server.close()
        await self.runner.cleanup()


async def serve(
    app: web.Application, port: int, limits: Limits | None = None, *, host: str | None = None
) -> Served:
    """Serve within limits, on all addresses unless told. The caller cleans up."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    handlers = runner.server
    assert handlers is not None
    held = limits or Limits()
    server = await asyncio.get_running_loop().create_server(
        lambda: Limited(held, handlers),
        # A pod's port is reached at whatever address the pod gets.
        host,
        port,
        reuse_address=True,
    )
    return Served(runner, server)
