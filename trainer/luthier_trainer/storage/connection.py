"""How HTTP connects: never to the addresses that a cloud keeps for a machine's own metadata, and
never waiting longer for an answer's head than is allowed."""

import http.client
import ipaddress
import math
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

# For the head of an answer, however slowly it drips.
_HEAD_SECONDS = 60.0
# Metadata services beyond the link-local networks.
_METADATA = (ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254"))


class ForbiddenAddressError(Exception):
    """The name leads to an address that is never asked."""


def require_allowed(address: str) -> None:
    """Raises ForbiddenAddressError."""
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_link_local or found in _METADATA:
        raise ForbiddenAddressError("it leads to a link-local or metadata address")


class _Guarded:
    """Beside a connection of http.client."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        try:
            require_allowed(self.sock.getpeername()[0])
        except ForbiddenAddressError:
            self.sock.close()
            raise

    def getresponse(self) -> Any:
        hang_up = partial(_hang_up, self.sock)
        timer = threading.Timer(_HEAD_SECONDS, hang_up)
        timer.daemon = True
        timer.start()
        try:
            answer = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        answer.hang_up = hang_up  # the connection forgets its socket
        return answer


class _Http(_Guarded, http.client.HTTPConnection):
    """http://"""


class _Https(_Guarded, http.client.HTTPSConnection):
    """https://"""


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class Watch:
    """Hangs up where one read lasts too long: http.client reads the size of a chunk byte by byte,
    and lines behind the last one without end. A context; raises TimeoutError where it did."""

    def __init__(self, answer: Any, seconds: float) -> None:
        self._hang_up = answer.hang_up
        self._seconds = seconds
        self._until = math.inf
        self._ended = threading.Event()
        self._fired = False

    def __enter__(self) -> "Watch":
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._fired:  # whatever the read made of it: the end of the file, even
            raise TimeoutError(f"a read lasted longer than {self._seconds:.0f} s")

    def read(self, call: Callable[[], T]) -> T:
        self._until = time.monotonic() + self._seconds
        try:
            return call()
        finally:
            self._until = math.inf

    def _look(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            if time.monotonic() > self._until:
                self._fired = True
                self._hang_up()
                return


class HttpHandler(urllib.request.HTTPHandler):
    """Opens http:// by it."""

    def http_open(self, req: Any) -> Any:
        return self.do_open(_Http, req)


class HttpsHandler(urllib.request.HTTPSHandler):
    """Opens https:// by it."""

    def https_open(self, req: Any) -> Any:
        connection: Callable[..., Any] = _Https
        return self.do_open(connection, req)
