"""The three ports: metrics, health, progress."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from luthier_api.progress import MAX_REPORT_BYTES

Check = Callable[[], str]  # empty: all is well


def metrics_app(registry: CollectorRegistry) -> web.Application:
    """/metrics."""

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

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


async def serve(app: web.Application, port: int) -> web.AppRunner:
    """Serve on all addresses. The caller cleans the runner up."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    # A pod's port is reached at whatever address the pod gets.
    await web.TCPSite(runner, None, port).start()
    return runner
