"""Asking why a Job or pod doesn't come up: only then, and only about that one.

Refused pods (quota, Pod Security, a missing service account) and failed mounts show
in Events alone. Watching the Events of a whole cluster would cost more than all else.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from luthier_operator.buckets import Bucket
from luthier_operator.cluster import Cluster
from luthier_operator.run.model import AnyObserved

# In a burst the pods of a hundred Jobs come within some seconds: asking would slow that down.
PATIENCE = timedelta(seconds=5)
# A pod that pulls a large image is normal; ask about its mounts later.
START_PATIENCE = timedelta(seconds=10)
FIRST_SECONDS = 5.0
MOST_SECONDS = 60.0
# Of all resources together: the API server reads all Events of a namespace for each question.
QUESTIONS_BURST, QUESTIONS_PER_SECOND = 10, 5.0


@dataclass(frozen=True)
class Stuck:
    """What doesn't come up, and since when."""

    uid: str
    since: datetime


class Enquiry:
    """The last answers about one resource. `questions`: the right to ask, which all share."""

    def __init__(self, questions: Bucket) -> None:
        self._questions = questions
        self._turn: float | None = None
        self.notes: tuple[str, ...] = ()
        self._about = ""
        self._next = float("-inf")
        self._pause = FIRST_SECONDS

    async def ask(self, cluster: Cluster, observed: AnyObserved, clock: float) -> bool:
        """Ask if something is stuck and it is time; True where there are new answers."""
        stuck = find_stuck(observed)
        if stuck is None or stuck.uid != self._about:
            self._reset(stuck.uid if stuck else "")
        if stuck is None or observed.now < stuck.since or clock < self._next:
            return False
        if self._turn is None:
            self._turn = clock + self._questions.promise(clock)
        if clock < self._turn:
            return False
        self._turn = None
        self._next = clock + self._pause
        self._pause = min(MOST_SECONDS, self._pause * 2)
        self.notes = tuple(await cluster.warnings(observed.owner.namespace, stuck.uid))
        return True

    def due(self, observed: AnyObserved, clock: float) -> float | None:
        """Seconds until the next question; None where nothing is stuck."""
        stuck = find_stuck(observed)
        if stuck is None:
            return None
        patience = (stuck.since - observed.now).total_seconds()
        return max(0.1, patience, self._next - clock, (self._turn or 0.0) - clock)

    def _reset(self, about: str) -> None:
        self.notes, self._about = (), about
        self._next, self._pause = float("-inf"), FIRST_SECONDS
        if self._turn is not None:
            self._turn = None
            self._questions.give_back()


def find_stuck(observed: AnyObserved) -> Stuck | None:
    """The Job without a pod, or the pod on a node whose container hasn't started."""
    for job in observed.jobs:
        if job.end is not None or job.deleting:
            continue
        if job.suspended:
            continue
        pods = observed.pods_of(job)
        if pods and pods[-1].ends_the_run:
            continue  # its Job will say so
        pods = [pod for pod in pods if pod.alive]
        if not pods:
            return Stuck(job.uid, _time(job.created) + PATIENCE)
        pod = pods[-1]
        if pod.node and not pod.started:
            return Stuck(pod.uid, _time(pod.created) + START_PATIENCE)
    return None


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
