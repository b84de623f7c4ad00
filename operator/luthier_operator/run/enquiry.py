"""Asking why a Job or pod doesn't come up: only then, and once for all of a namespace.

Refused pods (quota, Pod Security, a missing service account) and failed mounts show
in Events alone. Watching the Events of a whole cluster would cost more than all else.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from luthier_api.result import ExitCode
from luthier_operator.cluster import Cluster
from luthier_operator.run.model import AnyObserved, Job, have_ended
from luthier_operator.run.scheduling import TOLD_BY_EVENTS

# In a burst the pods of a hundred Jobs come within some seconds: asking would slow that down.
PATIENCE = timedelta(seconds=5)
# A pod that pulls a large image is normal; ask about its mounts later.
START_PATIENCE = timedelta(seconds=10)
FIRST_SECONDS = 5.0
MOST_SECONDS = 60.0
# An answer serves all who ask so soon after it, and the API server has so many times as long as it
# took for others: it reads all Events of a namespace for each question.
FRESH_SECONDS, REST = 2.0, 10
# Who can't be answered now asks again after so long.
BUSY_SECONDS = 1.0


@dataclass
class _Answer:
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    until: float = float("-inf")
    reading: bool = False


class Warnings:
    """What the Events of namespaces say, by the uid of what they are about."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._clock = cluster, clock
        self._answers: dict[str, _Answer] = {}

    async def about(self, namespace: str, uid: str) -> tuple[str, ...] | None:
        """Newest first; None while another one reads that namespace's Events."""
        began = self._clock()
        answer = self._answers.get(namespace)
        if answer is None or (answer.until <= began and not answer.reading):
            self._forget(began)
            answer = self._answers[namespace] = _Answer(reading=True)
            try:
                answer.notes = await self._cluster.warnings(namespace, TOLD_BY_EVENTS)
            finally:
                now = self._clock()
                answer.reading, answer.until = False, now + max(FRESH_SECONDS, REST * (now - began))
        return None if answer.reading else answer.notes.get(uid, ())

    def _forget(self, now: float) -> None:
        old = [name for name, it in self._answers.items() if it.until <= now and not it.reading]
        for name in old:
            del self._answers[name]


@dataclass(frozen=True)
class Stuck:
    """What doesn't come up, and since when."""

    uid: str
    since: datetime


class Enquiry:
    """The last answers about one resource."""

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()
        self._about = ""
        self._next = float("-inf")
        self._pause = FIRST_SECONDS

    async def ask(self, warnings: Warnings, observed: AnyObserved, clock: float) -> bool:
        """Ask if something is stuck and it is time; True where there are new answers."""
        stuck = find_stuck(observed)
        if stuck is None or stuck.uid != self._about:
            self._reset(stuck.uid if stuck else "")
        if stuck is None or observed.now < stuck.since or clock < self._next:
            return False
        # Also where it fails: others' turn comes first.
        self._next = clock + BUSY_SECONDS
        notes = await warnings.about(observed.owner.namespace, stuck.uid)
        if notes is None:
            return False
        self._next = clock + self._pause
        self._pause = min(MOST_SECONDS, self._pause * 2)
        before, self.notes = self.notes, notes
        return notes != before

    def due(self, observed: AnyObserved, clock: float) -> float | None:
        """Seconds until the next question; None where nothing is stuck."""
        stuck = find_stuck(observed)
        if stuck is None:
            return None
        patience = (stuck.since - observed.now).total_seconds()
        return max(0.1, patience, self._next - clock)

    def _reset(self, about: str) -> None:
        self.notes, self._about = (), about
        self._next, self._pause = float("-inf"), FIRST_SECONDS


def find_stuck(observed: AnyObserved) -> Stuck | None:
    """The Job that lacks a pod, or the pod on a node whose container hasn't started."""
    for job in observed.jobs:
        if job.end is not None or job.deleting:
            continue
        if job.suspended:
            continue
        pods = observed.pods_of(job)
        if have_ended(pods, job.parts):
            continue  # its Job will say so
        there = {pod.index for pod in pods if pod.alive or pod.exit_code == ExitCode.SUCCEEDED}
        pods = [pod for pod in pods if pod.alive]
        if not pods:
            return Stuck(_maker(job), _time(job.created) + PATIENCE)
        pod = next((it for it in pods if not it.started), pods[-1]) if job.together else pods[-1]
        if pod.node and not pod.started:
            return Stuck(pod.uid, _time(pod.created) + START_PATIENCE)
        if job.together and len(there) < job.parts:
            return Stuck(_maker(job), _time(pods[-1].created) + PATIENCE)
    return None


def _maker(job: Job) -> str:
    """The uid of what is to make its pods, or the Job that does."""
    return str(job.inner["metadata"]["uid"]) if job.inner else job.uid


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
