"""A thread that brings a tracker to what the run knows, again and again: whatever it couldn't tell
is told later, and training never waits for it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier_api.tracking import TrackedRun
from luthier_trainer.log import log, log_traceback
from luthier_trainer.redaction import redacted
from luthier_trainer.tracking import points
from luthier_trainer.tracking.tracker import Known, Tracker, TrackerError

_EVERY_SECONDS = 5.0
# Between two tries of what failed; of what was refused nothing is better soon.
_LONGEST_PAUSE, _REFUSED_PAUSE = 60.0, 300.0
# At the end, where somebody waits.
_LAST_PAUSE = 1.0
# Of values at a time, and the rest of their last step: MLflow takes 1,000 in one call, so that no
# step is told by half.
_VALUES = 900
_LONGEST_TOLD = 300


class Delivery:
    """What there is to tell is the journal, which only grows, and what is known: nothing is queued
    beside them, and nothing is lost while the tracker is away.

    `changed` is told, in the thread, how the tracker has the run. `quiet`: the log says nothing of
    it: another one tells of the same tracker.
    """

    def __init__(
        self,
        tracker: Tracker,
        began: float,
        known: Known,
        changed: Callable[[TrackedRun], None],
        every_seconds: float = _EVERY_SECONDS,
        *,
        quiet: bool = False,
    ) -> None:
        self._tracker, self._began, self._changed = tracker, began, changed
        self._every, self._quiet = every_seconds, quiet
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._known = known
        self._entries: Sequence[Mapping[str, Any]] = ()
        self._until: float | None = None  # when it is closed, whether all is told or not
        self._is_open = self._ended = False
        self._last = -1  # the last step that the tracker has
        self._told: Known | None = None
        self._problem: str | None = None
        self._run_told: TrackedRun | None = None
        self._thread = threading.Thread(target=self._run, name=tracker.name, daemon=True)
        self._wake.set()
        self._thread.start()

    def follow(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """The journal's entries, which go on growing."""
        with self._lock:
            self._entries = entries

    def know(self, known: Known) -> None:
        """What is known by now."""
        with self._lock:
            self._known = known

    def end(self, known: Known, seconds: float) -> None:
        """Tell the end, for at most so long from now on."""
        with self._lock:
            self._known, self._until = known, time.monotonic() + seconds
        self._wake.set()

    def is_done(self, within: float) -> bool:
        """Whether it has ended, told or not; waits for at most so long."""
        self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = longer = self._every
        while not self._ended:
            self._wake.wait(pause)
            self._wake.clear()
            if self._until is not None and time.monotonic() >= self._until:
                break
            try:
                self._deliver()
            except Exception as error:
                self._is_open = False
                refused = isinstance(error, TrackerError) and error.refused
                pause, longer = longer, min(2 * longer, _LONGEST_PAUSE)
                self._tell(error)
                if refused:
                    pause = _REFUSED_PAUSE
                    if self._until is not None:
                        break
            else:
                pause = longer = self._every
                self._tell(None)
            if self._until is not None:
                pause = _LAST_PAUSE
        self._tracker.close()

    def _deliver(self) -> None:
        with self._lock:
            known, entries = self._known, self._entries
        if not self._is_open:
            self._last = self._tracker.open(known)
            self._is_open, self._told = True, known
        if known != self._told and known.end is None:
            self._tracker.know(known)
            self._told = known
        while found := points.after(
            entries, self._last, self._began, _VALUES, newest=known.end is not None
        ):
            self._tracker.measure(found)
            self._last = found[-1].step
        if known.end is not None:
            self._tracker.end(known)
            self._ended = True

    def _tell(self, error: Exception | None) -> None:
        """Once, and once more when it is over."""
        problem = None
        if error is not None:
            ours = isinstance(error, TrackerError)
            problem = str(error) if ours else f"it can't be told ({type(error).__name__})"
            problem = redacted(problem)[:_LONGEST_TOLD]
            if not self._problem and not self._quiet:
                log(f"warning: {self._tracker.name}: {problem}. The run goes on; it is tried again")
                if not ours:
                    log_traceback(error)
        elif self._problem and not self._quiet:
            log(f"{self._tracker.name}: told all that was missing")
        self._problem = problem
        it = self._tracker
        run = TrackedRun(tracker=it.name, id=it.id, url=it.url, problem=problem)
        if run != self._run_told:
            self._run_told = run
            self._changed(run)
