"""How often what runs tell is written: of one run, of a namespace's, and of all together.

Who can make a pod report can make it report anything, and the API server is everybody's. The steps
of a run's life (its phase, its revision, its Job) are written at once, but for the first: a pod
often has its node and runs a moment after its Job's creation, and that is one write then.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from luthier_operator.buckets import Bucket, Buckets
from luthier_operator.resources import Key, Resource

# Changes that are more than progress: of one run so many at once are written, with their Events,
# and then one in so many seconds.
TOLD_BURST = 15
TOLD_SECONDS = 5.0
# Those that only carry progress: at least this far apart for one run …
PROGRESS_SECONDS = 5.0
# … and about this many a second for all runs together.
PROGRESS_WRITES_PER_SECOND = 20.0
# Both, of a namespace and of all of them. A namespace has half: others' runs aren't held up by
# one that is noisy; and it has room beyond progress, which is as frequent where it is the only one.
NAMESPACE_BURST, NAMESPACE_PER_SECOND = 100, 30.0
ALL_BURST, ALL_PER_SECOND = 200, 60.0

# So long a new run's Pending isn't worth a write; and where so many have begun within the time of a
# rush, in which the API server has enough to do and pods take longer to come.
SETTLING_SECONDS = 1.0
RUSH, RUSH_SECONDS = 30, 10.0


@dataclass(frozen=True)
class _Turn:
    """A token that a run has been promised, of the bucket that is next on its way."""

    at: float
    passed: int  # buckets so far


class Pace:
    """Whose turn it is. `running`: how many runs there are; `clock`: monotonic seconds."""

    def __init__(
        self, running: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._running, self._clock = running, clock
        self._of_run: Buckets[tuple[Resource, Key]] = Buckets(
            TOLD_BURST, 1 / TOLD_SECONDS, clock=clock
        )
        self._of_namespace: Buckets[str] = Buckets(
            NAMESPACE_BURST, NAMESPACE_PER_SECOND, clock=clock
        )
        self._of_all = Bucket(ALL_BURST, ALL_PER_SECOND, clock())
        self._turns: dict[tuple[Resource, Key], _Turn] = {}
        self._fresh: dict[tuple[Resource, Key], float] = {}
        self._begun: dict[tuple[Resource, Key], float] = {}
        self._last_begun: deque[float] = deque(maxlen=RUSH)

    def clear(self) -> None:
        """Begin anew: what was written meanwhile was another's."""
        self._turns.clear()
        self._fresh.clear()
        self._begun.clear()

    def begin(self, resource: Resource, key: Key) -> None:
        """A run's Job has been created."""
        now = self._clock()
        self._begun[resource, key] = now
        self._last_begun.append(now)

    def until_settled(self, resource: Resource, key: Key) -> float:
        """Seconds in which it isn't worth a write that a new run is Pending."""
        begun, now = self._begun.get((resource, key), float("-inf")), self._clock()
        full = len(self._last_begun) == RUSH
        rush = full and now - self._last_begun[0] < RUSH_SECONDS
        return max(0.0, begun + (RUSH_SECONDS if rush else SETTLING_SECONDS) - now)

    def interval(self) -> float:
        """Seconds between two writes of one run's progress."""
        return max(PROGRESS_SECONDS, self._running() / PROGRESS_WRITES_PER_SECOND)

    def until_turn(self, resource: Resource, key: Key) -> float:
        """Seconds in which nothing that a run tells can be written; 0 where it isn't waiting."""
        turn = self._turns.get((resource, key))
        return max(0.0, turn.at - self._clock()) if turn else 0.0

    def until_due(self, resource: Resource, key: Key) -> float:
        """Seconds until a run's progress is to be written."""
        fresh = self._fresh.get((resource, key), float("-inf"))
        due = max(0.0, fresh + self.interval() - self._clock())
        return max(due, self.until_turn(resource, key))

    def turn(self, resource: Resource, key: Key, *, material: bool) -> float:
        """Seconds until what a run tells may be written; 0: now, and that was its turn.

        Who waits keeps its place: its token is promised, first of its run's, then of its
        namespace's, then of all. So a namespace's runs wait in their own line, and nobody
        has to ask time and again.
        """
        if not material and (wait := self.until_due(resource, key)) > 0:
            return wait
        run, now = (resource, key), self._clock()
        turn = self._turns.get(run) or _Turn(now, 0 if material else 1)
        while turn.at <= now:
            if turn.passed == 3:
                self._turns.pop(run, None)
                return 0.0
            turn = _Turn(now + self._promise(turn.passed, resource, key, now), turn.passed + 1)
        self._turns[run] = turn
        return turn.at - now

    def _promise(self, passed: int, resource: Resource, key: Key, now: float) -> float:
        if passed == 0:
            return self._of_run.promise((resource, key))
        return self._of_namespace.promise(key[0]) if passed == 1 else self._of_all.promise(now)

    def up_to_date(self, resource: Resource, key: Key) -> None:
        """A resource's status says all that its run told."""
        self._fresh[resource, key] = self._clock()
        self._begun.pop((resource, key), None)
        self._turns.pop((resource, key), None)

    def drop(self, resource: Resource, key: Key) -> None:
        """A resource is gone."""
        self._fresh.pop((resource, key), None)
        self._begun.pop((resource, key), None)
        self._turns.pop((resource, key), None)
        self._of_run.forget((resource, key))
