"""Ports for servers that are told where to listen."""

import socket
from collections.abc import Sequence
from contextlib import suppress


class ReservedPort:
    """A port that nobody else is given, between its choice and the server's start and between two
    starts.

    It is bound and never listened on: with SO_REUSEADDR the server may bind it as well, and the
    kernel gives it to no one who asks for any port. `above`: so are those so far above it.
    """

    def __init__(self, above: Sequence[int] = (), below: int = 65_536) -> None:
        while True:
            self._held = [_bound(0)]
            self.number: int = self._held[0].getsockname()[1]
            if self.number < below:
                with suppress(OSError):
                    self._held += [_bound(self.number + distance) for distance in above]
                    return
            self.release()

    def release(self) -> None:
        for held in self._held:
            held.close()

    __del__ = release


def _bound(port: int) -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        # At every address, as servers do: at one alone, the port may be that of a connection from
        # another, and no server could have it.
        held.bind(("", port))
    except OSError:
        held.close()
        raise
    return held
