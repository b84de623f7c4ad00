"""The text of /metrics: rendered beside the event loop, once for all who ask at the same time."""

import asyncio
import time
from collections.abc import Callable

# A text is served until it is so many times older than it took to render, so that however many
# scrape, no more than a quarter of the time goes into rendering.
AGE = 3.0


class Page:
    """`snapshot` runs in the event loop, `render` then in a thread."""

    def __init__(
        self,
        snapshot: Callable[[], None],
        render: Callable[[], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot, self._render, self._clock = snapshot, render, clock
        self._one_at_a_time = asyncio.Lock()
        self._text = b""
        self._fresh_until = float("-inf")

    async def text(self) -> bytes:
        """The text of now, or of a moment ago."""
        async with self._one_at_a_time:
            began = self._clock()
            if began >= self._fresh_until:
                self._snapshot()
                self._text = await asyncio.to_thread(self._render)
                took = self._clock() - began
                self._fresh_until = began + took + AGE * took
            return self._text
