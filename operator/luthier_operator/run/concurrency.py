"""How many runs of a namespace go on at once: who has a place, and who waits for one.

A place is taken in memory before its Job is created, so that two resources that are looked at
together never take the last one. Only the leader creates Jobs: memory is enough.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any

from luthier_api import reasons
from luthier_operator.errors import Refusal
from luthier_operator.resources import QUEUE_LABEL, UID_LABEL, Key, Obj, Resource, key_of, label_of

TOO_MANY_RUNS = reasons.TOO_MANY_RUNS
QUOTA_EXCEEDED = reasons.QUOTA_EXCEEDED
# Of what a quota of Jobs holds back so many try; the others would be told the same.
PROBES = 2
# Who waits is woken when it is its turn; in between its place in line is told anew.
LOOK_SECONDS = 300.0
# Places beyond the tenth are told roughly: each change would be a write, for all that wait.
_ROUGHLY = (500, 200, 100, 50, 20, 10)

Owner = tuple[Resource, Key]


def takes_a_place(job: Obj) -> bool:
    """Whether a Job of the store runs, or may start without our doing: Kueue's count as well."""
    spec, status = job["spec"], job["status"]
    ended = any(
        condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
        for condition in status.get("conditions") or []
    )
    held = bool(spec.get("suspend")) and label_of(job, QUEUE_LABEL) is None
    return not (ended or held)


def place_in_line(ahead: int) -> str:
    """In words; `ahead`: how many come first."""
    roughly = next((number for number in _ROUGHLY if ahead >= number), None)
    if roughly is not None:
        return f"at least {roughly} come before it"
    return f"it is number {ahead + 1} in line"


def explain(namespace: str, most: int, running: int, ahead: int) -> Refusal:
    """Why a run waits for a place."""
    return Refusal(
        TOO_MANY_RUNS,
        f"Namespace {namespace} may have {most} runs at once (maxRuns of luthier.yaml), and has "
        f"{running}: {place_in_line(ahead)}, and starts when its turn comes.",
    )


class Live:
    """The owners of Jobs that take a place, by namespace. The store keeps it."""

    def __init__(self) -> None:
        self._jobs: dict[str, Counter[str]] = {}

    def count(self, job: Obj, by: int) -> None:
        """Add a Job of the store (1), or take it away as it was (-1)."""
        owner = label_of(job, UID_LABEL)
        if owner is None or not takes_a_place(job):
            return
        namespace = key_of(job)[0]
        jobs = self._jobs.setdefault(namespace, Counter())
        jobs[owner] += by
        if jobs[owner] <= 0:
            del jobs[owner]
        if not jobs:
            del self._jobs[namespace]

    def owners(self, namespace: str) -> Set[str]:
        """Their uids."""
        return self._jobs.get(namespace, Counter()).keys()


class Line:
    """Resources that wait, the oldest first."""

    def __init__(self) -> None:
        self._ranks: dict[Owner, tuple[Any, ...]] = {}
        self._order: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._order)

    def join(self, resource: Resource, obj: Obj) -> None:
        """Wait in line; a namesake of another age takes its own place."""
        self.leave((resource, key_of(obj)))
        rank = _rank(resource, obj)
        self._ranks[resource, key_of(obj)] = rank
        insort(self._order, rank)

    def leave(self, owner: Owner) -> bool:
        """Whether it was in line."""
        rank = self._ranks.pop(owner, None)
        if rank is None:
            return False
        del self._order[bisect_left(self._order, rank)]
        return True

    def ahead(self, resource: Resource, obj: Obj) -> int:
        """How many come first."""
        return bisect_left(self._order, _rank(resource, obj))

    def first(self, count: int) -> Iterator[Owner]:
        """The oldest."""
        for *_, resource, key in self._order[: max(0, count)]:
            yield resource, key


def _rank(resource: Resource, obj: Obj) -> tuple[Any, ...]:
    """By age, then name; kinds come into it where both are the same."""
    key = key_of(obj)
    return obj["metadata"].get("creationTimestamp", ""), key[1], resource.plural, resource, key


class _Namespace:
    def __init__(self) -> None:
        self.reserved: dict[Owner, str] = {}  # its Job is being created; its uid
        self.waiting = Line()
        self.held = Line()  # by a quota
        self.quota: Refusal | None = None  # what the quota said last

    @property
    def empty(self) -> bool:
        return not (self.reserved or len(self.waiting) or len(self.held))


class Slots:
    """Gives out the places of all namespaces."""

    def __init__(
        self,
        live: Live,
        most: Callable[[str], int | None],
        wake: Callable[[Resource, Key], None],
    ) -> None:
        """`most`: how many runs a namespace may have at once, None for any number; `wake`: look
        at a resource whose turn it may be."""
        self._live = live
        self._most = most
        self._wake = wake
        self._namespaces: dict[str, _Namespace] = {}

    def rebuild(self, resources: Iterable[tuple[Resource, Obj]]) -> None:
        """Begin with the lines that the statuses tell of: at the start, and as a new leader."""
        self._namespaces.clear()
        for resource, obj in resources:
            if _waits(obj):
                self._of(key_of(obj)[0]).waiting.join(resource, obj)

    def admit(self, resource: Resource, obj: Obj, *, starts: bool) -> Refusal | None:
        """Take a place for a run that would start now, or say why it waits. One that wouldn't has
        none, and stands in no line. Whoever took a place calls `settle`."""
        key = key_of(obj)
        if not starts:
            self.leave(resource, key)
            return None
        here = self._of(key[0])
        if here.quota is not None and here.held.ahead(resource, obj) >= PROBES:
            here.waiting.leave((resource, key))
            here.held.join(resource, obj)
            return here.quota
        return self._take(here, resource, obj)

    def _take(self, here: _Namespace, resource: Resource, obj: Obj) -> Refusal | None:
        key, uid = key_of(obj), obj["metadata"]["uid"]
        most = self._most(key[0])
        taken = self._taken(key[0])
        ahead = here.waiting.ahead(resource, obj)
        if most is not None and uid not in taken and ahead >= most - len(taken):
            here.waiting.join(resource, obj)
            return explain(key[0], most, len(taken), ahead)
        here.waiting.leave((resource, key))
        here.reserved[resource, key] = uid
        return None

    def settle(self, resource: Resource, obj: Obj, refused: Refusal | None) -> None:
        """The Job is in the store, or the API server refused it: the place is no more reserved.

        Not after any other error: the Job may have been created all the same.
        """
        key = key_of(obj)
        here = self._of(key[0])
        here.reserved.pop((resource, key), None)
        if refused is not None and refused.reason == QUOTA_EXCEEDED:
            here.held.join(resource, obj)
            here.quota = refused
            self.advance(key[0])
        else:
            self.advance(key[0], removed=here.held.leave((resource, key)))

    def leave(self, resource: Resource, key: Key) -> None:
        """Of a resource that is gone, or wants no run: its place and its turn are another's."""
        here = self._namespaces.get(key[0])
        if here is None:
            return
        left = here.reserved.pop((resource, key), None) is not None
        left |= here.waiting.leave((resource, key))
        held = here.held.leave((resource, key))
        if left or held:
            self.advance(key[0], removed=held)

    def next(self, namespace: str, *, removed: bool = False) -> list[Owner]:
        """Whose turn it is: as many as there are places; after a Job was `removed`, of those too
        that a quota held back."""
        here = self._namespaces.get(namespace)
        if here is None:
            return []
        if here.empty:
            del self._namespaces[namespace]
            return []
        most, waiting = self._most(namespace), len(here.waiting)
        free = waiting if most is None else most - len(self._taken(namespace))
        return [*here.waiting.first(free), *(here.held.first(PROBES) if removed else ())]

    def advance(self, namespace: str, *, removed: bool = False) -> None:
        """Wake them: call it whenever a Job of the namespace changes or goes."""
        for resource, key in self.next(namespace, removed=removed):
            self._wake(resource, key)

    def _of(self, namespace: str) -> _Namespace:
        return self._namespaces.setdefault(namespace, _Namespace())

    def _taken(self, namespace: str) -> Set[str]:
        here = self._namespaces.get(namespace)
        live = self._live.owners(namespace)
        return live | set(here.reserved.values()) if here and here.reserved else live


def _waits(obj: Obj) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any(condition.get("reason") == TOO_MANY_RUNS for condition in conditions)
