"""Everything of kopf's: its run loop, with login, signals and cleanup. It watches nothing."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import kopf
from kubernetes.aio.client import Configuration


async def run(work: Callable[[], Awaitable[None]], configuration: Configuration) -> None:
    """Run until SIGTERM, or until `work` ends or raises; what it raises comes out here.

    SIGTERM cancels `work`, and waits for its end.
    """
    ended = asyncio.Event()
    # Before kopf's own tasks, which it would else take it for.
    task = asyncio.ensure_future(work())
    task.add_done_callback(lambda _: ended.set())
    await asyncio.sleep(0)

    async def stop() -> None:
        task.cancel()
        await asyncio.wait([task])

    try:
        await kopf.operator(
            registry=build_registry(lambda: configuration, stop),
            settings=build_settings(),
            stop_flag=ended,
            # kopf would look for the user's name, which a container's uid need not have.
            identity=socket.gethostname(),
            clusterwide=True,
        )
    finally:
        await stop()
        with contextlib.suppress(asyncio.CancelledError):
            task.result()


def build_registry(
    login: Callable[[], Configuration], stop: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    """The handlers: none of a resource, since the reflectors watch."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator]
    async def authenticate(**_: Any) -> kopf.ConnectionInfo:
        return await connection(login())

    @kopf.on.cleanup(registry=registry)  # type: ignore[untyped-decorator]
    async def clean_up(**_: Any) -> None:
        # Or kopf waits up to five seconds for tasks that it takes for its own.
        await stop()

    return registry


class Endless:
    """Pauses between tries that never end: kopf gives up after a finite list of them."""

    def __iter__(self) -> Any:
        pause = 0.5
        while True:
            yield pause
            pause = min(10.0, pause * 2)


def build_settings() -> kopf.OperatorSettings:
    """kopf as a run loop only; each setting is explained by what it prevents."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # no Events of kopf's own
    settings.scanning.disabled = True  # no rights on CRDs and namespaces
    settings.peering.standalone = True
    settings.networking.error_backoffs = Endless()
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    return settings


async def connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """kopf's view of the client's configuration, so that both log in alike."""
    header = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
