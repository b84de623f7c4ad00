"""How many connections a port bears, and for how long: aiohttp bounds neither.

A client that sends half a header and then nothing would keep its connection for ever.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

# Each report, probe and scrape has a connection of its own; a trainer gives up after five seconds.
LIFETIME_SECONDS = 15.0
MOST_OF_ONE_ADDRESS = 64
MOST = 2_000


class Connection(Protocol):
    """What is counted."""

    def abort(self) -> None:
        """End it at once."""


class Limits:
    """The connections of one port. Where there are too many the oldest ends.

    Were the newest refused instead, who holds connections open would keep out who asks and goes:
    the kubelet's probes, and every report.
    """

    def __init__(
        self,
        *,
        lifetime: float = LIFETIME_SECONDS,
        of_one_address: int = MOST_OF_ONE_ADDRESS,
        most: int = MOST,
    ) -> None:
        self.lifetime = lifetime
        self._of_one_address, self._most = of_one_address, most
        # Oldest first; all with their addresses.
        self._all: dict[Connection, str] = {}
        self._of: dict[str, dict[Connection, None]] = {}

    def enter(self, address: str, connection: Connection) -> None:
        """Count a connection, and end the oldest where there are too many."""
        of_it = self._of.get(address, {})
        if len(of_it) >= self._of_one_address:
            self._end(next(iter(of_it)))
        elif len(self._all) >= self._most:
            self._end(next(iter(self._all)))
        self._all[connection] = address
        self._of.setdefault(address, {})[connection] = None

    def leave(self, connection: Connection) -> None:
        """Count one less, unless it has been ended."""
        address = self._all.pop(connection, None)
        if address is None:
            return
        del self._of[address][connection]
        if not self._of[address]:
            del self._of[address]

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        connection.abort()


class Limited(asyncio.Protocol):
    """Passes a connection on to the protocol that serves it, within the limits."""

    def __init__(self, limits: Limits, serve: Callable[[], asyncio.Protocol]) -> None:
        self._limits, self._serve = limits, serve
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it until its time is up, or until there are too many after it."""
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self._limits.enter(str(peer[0]) if isinstance(peer, tuple) else "", transport)
        self._transport = transport
        self._inner = self._serve()
        self._inner.connection_made(transport)
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(self._limits.lifetime, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and makes room for another."""
        if self._end is not None:
            self._end.cancel()
        if self._transport is not None:
            self._limits.leave(self._transport)
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Passed on."""
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Passed on."""
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        """Passed on."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Passed on."""
        if self._inner is not None:
            self._inner.resume_writing()
