"""The work queue: controller-runtime's semantics in asyncio."""

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

BACKOFF_FIRST = 0.25
BACKOFF_MOST = 60.0


class WorkQueue(Generic[T]):
    """Keys to work on. A key is handed out to one worker at a time, and waits at most once.

    `clock` gives monotonic seconds. Keys that fail come back after 0.25 s, 0.5 s, 1 s … 60 s.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: deque[T] = deque()
        self._waiting: set[T] = set()  # in _ready
        self._running: set[T] = set()
        self._again: set[T] = set()  # added while it ran
        self._later: list[tuple[float, int, T]] = []
        self._due: dict[T, float] = {}  # the earliest time of each key in _later
        self._failures: dict[T, int] = {}
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def add(self, key: T) -> None:
        """Work on it as soon as a worker is free."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._changed.set()

    def add_after(self, key: T, seconds: float) -> None:
        """Work on it in that many seconds; an earlier appointment stands."""
        due = self._clock() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, next(self._order), key))
            self._changed.set()

    def take(self) -> T | None:
        """The next key whose time has come, or None. The caller must call `done`."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._running.add(key)
        return key

    def done(self, key: T, *, failed: bool = False) -> float | None:
        """Give a key back. Returns after how many seconds a failed one comes again."""
        self._running.discard(key)
        delay = None
        if failed:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(count - 1, 16))
            # What happened meanwhile waits for the same appointment: a hot loop
            # of failures would otherwise be as fast as its own watch events.
            self._again.discard(key)
            self.add_after(key, delay)
        else:
            self._failures.pop(key, None)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
        return delay

    def depth(self) -> int:
        """How many keys wait for a worker now."""
        return len(self._ready)

    async def get(self) -> T:
        """Wait for a key. The caller must call `done`."""
        while True:
            key = self.take()
            if key is not None:
                return key
            self._changed.clear()
            pause = max(0.0, self._later[0][0] - self._clock()) if self._later else None
            # Not wait_for: until Python 3.12 it swallows a cancellation that comes together with
            # the change, and the worker would then never end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
