"""Limits for code of others that runs in this process: of its time and of its memory."""

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

# Again and again, in case the code swallows the exception.
_AGAIN_SECONDS = 0.5


class TooLongError(Exception):
    """The code took more than its time."""


@contextlib.contextmanager
def limited(cpu_seconds: float, more_bytes: int) -> Iterator[None]:
    """What runs within may take so many seconds of this process's CPUs (TooLongError) and so
    much more memory (MemoryError). Its time is limited in the main thread alone: no other can
    get a signal."""
    with _memory(more_bytes), _time(cpu_seconds):
        yield


@contextlib.contextmanager
def _time(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, _stop)
    # CPU time, not the clock's: a busy machine changes nothing.
    signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _memory(more_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise TooLongError
