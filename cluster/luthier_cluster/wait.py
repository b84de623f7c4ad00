"""Waiting with a limit, and what can be waited for."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable

# These addresses are links of this machine: never by way of a proxy.
_OPENER = urllib.request.build_opener(
    urllib.request.ProxyHandler({}),
    # Health endpoints say yes or no, nothing secret goes there, and several
    # components serve them with a certificate that they sign themselves.
    urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323
)


def until(holds: Callable[[], bool], within: float, every: float = 0.1) -> bool:
    """Whether `holds()` came true within so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def answers(endpoint: str) -> bool:
    """Whether an http(s) URL answers 200, or a process listens on a `unix:` socket."""
    if endpoint.startswith("unix:"):
        return _listens(endpoint.removeprefix("unix:"))
    return fetch(endpoint) is not None


def fetch(url: str) -> str | None:
    """What an http(s) URL answers, or None where that isn't a 200 within two seconds."""
    try:
        with _OPENER.open(url, timeout=2) as response:
            return response.read().decode() if response.status == 200 else None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except OSError:
            return False
    return True
