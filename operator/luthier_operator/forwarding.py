"""A standby hands reports on to the replica that leads, and its answer back."""

import asyncio
import logging
from collections.abc import Callable

import aiohttp
from aiohttp import web

from luthier_api.progress import MAX_REPORT_BYTES

log = logging.getLogger(__name__)

# Who forwards says so: what comes to another standby has met two views of who leads, and ends.
FORWARDED_HEADER = "X-Luthier-Forwarded"
# A trainer gives up after five seconds; the next report comes anyway.
SECONDS = 4.0
# To the leader all come from this replica's address: it asks about no more tokens of one address
# at once (tokens.py). So many more wait for their turn, each with up to 64 KiB.
AT_ONCE = 16
MOST = 200
RETRY_SECONDS = 2


def receiver_url(pod_ip: str, port: int) -> str:
    """Where a replica's reports are taken, as the others reach it."""
    return f"http://[{pod_ip}]:{port}" if ":" in pod_ip else f"http://{pod_ip}:{port}"


class Forward:
    """Forwards to the URL that `leader` gives, with the report's own token.

    The caller has found the token good: strangers' tokens never reach the leader from here, where
    they would count as this replica's. The leader checks it again, and trusts nothing of ours.
    """

    def __init__(self, leader: Callable[[], str | None]) -> None:
        self._leader = leader
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._held = 0

    async def __call__(self, request: web.Request) -> web.Response:
        """The leader's answer, or 503 where there is none."""
        if FORWARDED_HEADER in request.headers:
            return _later("this replica doesn't lead any more")
        url = self._leader()
        if url is None:
            return _later("no replica leads at the moment")
        body = await _read(request)
        if body is None:
            message = f"a report has at most {MAX_REPORT_BYTES} bytes"
            return web.json_response({"message": message}, status=413)
        if self._held >= MOST:
            return _later("too many reports wait for the replica that leads")
        self._held += 1
        try:
            async with asyncio.timeout(SECONDS), self._turns:
                return await self._send(url, request, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("can't forward a report to %s: %r", url, error)
            return _later("the replica that leads doesn't answer")
        finally:
            self._held -= 1

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, url: str, request: web.Request, body: bytes) -> web.Response:
        headers = {
            "Authorization": request.headers.get("Authorization", ""),
            "Content-Type": request.headers.get("Content-Type", "application/json"),
            FORWARDED_HEADER: "1",
        }
        if self._session is None:
            # The leader's port ends a connection by its age, in the middle of a report if need be:
            # each report has its own, as from a trainer.
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(connector=connector)
        to = url.rstrip("/") + request.path
        async with self._session.post(to, data=body, headers=headers, allow_redirects=False) as got:
            answer = web.Response(status=got.status, body=await got.read())
            for name in ("Content-Type", "Retry-After"):
                if name in got.headers:
                    answer.headers[name] = got.headers[name]
            return answer


async def _read(request: web.Request) -> bytes | None:
    """The report, or None for one that is too long."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_REPORT_BYTES:
            return None
    return bytes(body)


def _later(message: str) -> web.Response:
    return web.json_response(
        {"message": f"{message}: try again"},
        status=503,
        headers={"Retry-After": str(RETRY_SECONDS)},
    )
