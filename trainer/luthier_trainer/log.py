"""The log: one readable line each, on standard error."""

import sys
import time

_STARTED = time.monotonic()


def log(message: str) -> None:
    """Write a line with the seconds since the start."""
    print(f"{time.monotonic() - _STARTED:8.1f}s {message}", file=sys.stderr, flush=True)
