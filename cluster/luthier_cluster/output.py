"""One line a step, with the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(line: str) -> None:
    """Progress goes to stderr: stdout is for what a caller reads (`env`, `kubeconfig`)."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Says `title` and its seconds when it is done, or that it failed."""
    began = time.monotonic()
    outcome = "failed"
    try:
        yield
        outcome = ""
    finally:
        say(f"  {title:<58} {time.monotonic() - began:6.1f} s {outcome}".rstrip())
