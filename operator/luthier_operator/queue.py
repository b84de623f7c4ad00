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
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def add(self, key: T) -> None:
        """Work on it as soon as a worker is free."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: T, seconds: float) -> None:
        """Work on it in that many seconds; an earlier appointment stands."""
        due = self._clock() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._later, (due, next(self._order), key))
            if self._waiters:
                self._set_timer()

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
            # One timer for all who wait, and one of them is woken for a key.
            self._set_timer()
            if key is not None:
                return key
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)
                if not waiter.cancelled():
                    self._wake_one()  # it was woken for a key that another one can take
                raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        due = self._later[0][0] if self._later else None
        if self._timer is not None:
            if due == self._rings_at:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            pause = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(pause, self._ring)
            self._rings_at = due

    def _ring(self) -> None:
        self._timer = None
        self._wake_one()
