"""SIGTERM: raised at once in the stages that have nothing to save, noted while training, and raised
again in the parts of training that can be left at any point.

Python runs signal handlers in the main thread, so an exception from the handler
unwinds the main thread wherever it is.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from luthier_trainer.errors import Interrupted, Superseded


class Interrupt:
    """The request to stop, if one came."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._requested_at: float | None = None
        self._superseded = False
        self._deferred = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT from now on. Main thread only."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    @property
    def requested(self) -> bool:
        return self._requested_at is not None

    @property
    def superseded(self) -> bool:
        return self._superseded

    def seconds_left(self) -> float:
        """Until SIGKILL is due, with a margin for the last words; the whole grace before."""
        margin = min(5.0, self._grace_seconds / 4)
        since = 0.0 if self._requested_at is None else time.monotonic() - self._requested_at
        return max(0.0, self._grace_seconds - margin - since)

    def supersede(self) -> None:
        """The run is over for this pod. May be called from any thread."""
        self._superseded = True
        os.kill(os.getpid(), signal.SIGTERM)

    def check(self) -> None:
        """Raises Interrupted or Superseded when a stop was asked for."""
        if self.requested:
            raise Superseded if self._superseded else Interrupted

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within it a stop is only noted: the code in there asks `requested`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it, inside of `deferred`, a stop is raised again: also one noted before. For what
        changes no state that is to be saved, and may take longer than there is time."""
        deferred, self._deferred = self._deferred, False
        try:
            self.check()
            yield
        finally:
            self._deferred = deferred

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        first = self._requested_at is None
        if first:
            self._requested_at = time.monotonic()
        if first and not self._deferred:
            self.check()
