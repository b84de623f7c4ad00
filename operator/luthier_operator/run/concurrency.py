"""How many runs of a namespace, and of a pool, go on at once: who has a place, who waits for one.

Who has no place stands in one line: its namespace's, where that is full, else its pool's. So who
waits for a pool keeps nobody of its namespace from another one, and the other way round.

A place is taken in memory before its Job is created, so that two resources that are looked at
together never take the last one. Only the leader creates Jobs: memory is enough.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any

from pydantic import ValidationError

from luthier_api import reasons, terms
from luthier_api.placement import Placement
from luthier_api.platform import Platform, Pool
from luthier_operator.errors import Refusal
from luthier_operator.resources import (
    POOL_ANNOTATION,
    QUEUE_LABEL,
    ROLE_LABEL,
    UID_LABEL,
    Key,
    Obj,
    Resource,
    key_of,
    label_of,
)
from luthier_operator.run.workload import RUN, job_end

TOO_MANY_RUNS, POOL_FULL = reasons.TOO_MANY_RUNS, reasons.POOL_FULL
QUOTA_EXCEEDED = reasons.QUOTA_EXCEEDED
# Of what a quota of Jobs holds back so many try; the others would be told the same.
PROBES = 2
# Who waits is woken when it is its turn; in between its place in line is told anew.
LOOK_SECONDS = 300.0
# Places beyond the tenth are told roughly: each change would be a write, for all that wait.
_ROUGHLY = (500, 200, 100, 50, 20, 10)

Owner = tuple[Resource, Key]


def takes_a_place(job: Obj) -> bool:
    """Whether a Job of the store runs, or may start without our doing: Kueue's count as well.

    Errands don't: they are small, and what waits for a place may wait for what they find.
    """
    if (label_of(job, ROLE_LABEL) or RUN) != RUN:
        return False
    spec, status = job["spec"], job["status"]
    ended = job_end(status.get("conditions") or []) is not None
    held = bool(spec.get("suspend")) and label_of(job, QUEUE_LABEL) is None
    return not (ended or held)


def place_in_line(ahead: int) -> str:
    """In words; `ahead`: how many come first."""
    roughly = next((number for number in _ROUGHLY if ahead >= number), None)
    if roughly is not None:
        return f"at least {roughly} come before it"
    return f"it is number {ahead + 1} in line"


def explain(reason: str, where: str, most: int, running: int, ahead: int) -> Refusal:
    """Why a run waits for a place. `where`: the namespace, or the pool."""
    return Refusal(
        reason,
        f"{where} may have {most} runs at once (maxRuns of luthier.yaml), and has "
        f"{running}: {place_in_line(ahead)}, and starts when its turn comes.",
    )


class Live:
    """The owners of Jobs that take a place, by namespace and by pool. The store keeps it."""

    def __init__(self) -> None:
        self._jobs: dict[str, Counter[str]] = {}
        self._pools: dict[str, dict[str, Counter[str]]] = {}  # pool, namespace

    def count(self, job: Obj, by: int) -> None:
        """Add a Job of the store (1), or take it away as it was (-1)."""
        owner = label_of(job, UID_LABEL)
        if owner is None or not takes_a_place(job):
            return
        namespace = key_of(job)[0]
        _count(self._jobs, namespace, owner, by)
        pool = (job["metadata"].get("annotations") or {}).get(POOL_ANNOTATION)
        if pool is not None:
            _count(self._pools.setdefault(pool, {}), namespace, owner, by)
            if not self._pools[pool]:
                del self._pools[pool]

    def owners(self, namespace: str) -> Set[str]:
        """Their uids."""
        return self._jobs.get(namespace, Counter()).keys()

    def in_pool(self, pool: str) -> Mapping[str, Counter[str]]:
        """Those in a pool, as their Jobs say, by namespace."""
        return self._pools.get(pool, {})


def _count(jobs: dict[str, Counter[str]], namespace: str, owner: str, by: int) -> None:
    here = jobs.setdefault(namespace, Counter())
    here[owner] += by
    if here[owner] <= 0:
        del here[owner]
    if not here:
        del jobs[namespace]


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


class _Group:
    """Those that share places."""

    def __init__(self) -> None:
        self.reserved: dict[Owner, str] = {}  # its Job is being created; its uid
        self.waiting = Line()


class _Namespace(_Group):
    def __init__(self) -> None:
        super().__init__()
        self.held = Line()  # by a quota
        self.quota: Refusal | None = None  # what the quota said last

    @property
    def empty(self) -> bool:
        return not (self.reserved or len(self.waiting) or len(self.held))


class Slots:
    """Gives out the places of all namespaces and pools."""

    def __init__(
        self, live: Live, platform: Platform, wake: Callable[[Resource, Key], None]
    ) -> None:
        """`wake`: look at a resource whose turn it may be."""
        self._live = live
        self._platform = platform
        self._wake = wake
        self._namespaces: dict[str, _Namespace] = {}
        self._pools = {pool.name: _Group() for pool in platform.pools if pool.max_runs is not None}
        self._in_pool: dict[Owner, str] = {}  # who waits in one of these, or has reserved a place

    def rebuild(self, resources: Iterable[tuple[Resource, Obj]]) -> None:
        """Begin with the lines that the statuses tell of: at the start, and as a new leader."""
        self._namespaces.clear()
        self._in_pool.clear()
        self._pools = {name: _Group() for name in self._pools}
        for resource, obj in resources:
            if _waits(obj, POOL_FULL) and (pool := self._enter(resource, obj)):
                self._pools[pool.name].waiting.join(resource, obj)
            elif _waits(obj, TOO_MANY_RUNS) or _waits(obj, POOL_FULL):
                self._of(key_of(obj)[0]).waiting.join(resource, obj)

    def admit(self, resource: Resource, obj: Obj, *, starts: bool) -> Refusal | None:
        """Take a place for a run that would start now, or say why it waits. One that wouldn't has
        none, and stands in no line. Whoever took a place calls `settle`."""
        key = key_of(obj)
        if not starts:
            self.leave(resource, key)
            return None
        here, pool = self._of(key[0]), self._enter(resource, obj)
        if here.quota is not None and here.held.ahead(resource, obj) >= PROBES:
            here.waiting.leave((resource, key))
            self._leave_pool((resource, key))
            here.held.join(resource, obj)
            return here.quota
        refused = self._no_place(here, resource, obj)
        if refused is not None:
            self._leave_pool((resource, key))
            here.waiting.join(resource, obj)
            return refused
        waited = here.waiting.leave((resource, key))
        if pool is not None and (refused := self._no_place_in(pool, resource, obj)):
            self._pools[pool.name].waiting.join(resource, obj)
            if waited:  # the place that it leaves to the next of its namespace
                self._advance_namespace(key[0])
            return refused
        here.reserved[resource, key] = obj["metadata"]["uid"]
        if pool is not None:
            self._pools[pool.name].waiting.leave((resource, key))
            self._pools[pool.name].reserved[resource, key] = obj["metadata"]["uid"]
        return None

    def _no_place(self, here: _Namespace, resource: Resource, obj: Obj) -> Refusal | None:
        namespace = key_of(obj)[0]
        most, taken = self._most(namespace), self._taken(namespace)
        ahead = here.waiting.ahead(resource, obj)
        if most is None or obj["metadata"]["uid"] in taken or ahead < most - len(taken):
            return None
        return explain(TOO_MANY_RUNS, f"Namespace {namespace}", most, len(taken), ahead)

    def _no_place_in(self, pool: Pool, resource: Resource, obj: Obj) -> Refusal | None:
        (namespace, _), uid = key_of(obj), obj["metadata"]["uid"]
        group, most, taken = self._pools[pool.name], pool.max_runs or 0, self._taken_in(pool)
        has_one = uid in self._live.in_pool(pool.name).get(namespace, ())
        ahead = group.waiting.ahead(resource, obj)
        if has_one or uid in group.reserved.values() or ahead < most - taken:
            return None
        return explain(POOL_FULL, f"Pool {pool.name!r}", most, taken, ahead)

    def settle(self, resource: Resource, obj: Obj, refused: Refusal | None) -> None:
        """The Job is in the store, or the API server refused it: the place is no more reserved.

        Not after any other error: the Job may have been created all the same.
        """
        key = key_of(obj)
        here = self._of(key[0])
        here.reserved.pop((resource, key), None)
        self._leave_pool((resource, key))
        if refused is not None and refused.reason == QUOTA_EXCEEDED:
            here.held.join(resource, obj)
            here.quota = refused
            self._advance_namespace(key[0])
        else:
            self._advance_namespace(key[0], removed=here.held.leave((resource, key)))

    def leave(self, resource: Resource, key: Key) -> None:
        """Of a resource that is gone, or wants no run: its place and its turn are another's."""
        self._leave_pool((resource, key))
        here = self._namespaces.get(key[0])
        if here is None:
            return
        left = here.reserved.pop((resource, key), None) is not None
        left |= here.waiting.leave((resource, key))
        held = here.held.leave((resource, key))
        if left or held:
            self._advance_namespace(key[0], removed=held)

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

    def next_in(self, name: str) -> list[Owner]:
        """Whose turn it is in a pool."""
        group, pool = self._pools.get(name), self._platform.pool(name)
        if group is None or pool is None or pool.max_runs is None or not len(group.waiting):
            return []
        return list(group.waiting.first(pool.max_runs - self._taken_in(pool)))

    def advance(self, namespace: str, *, removed: bool = False) -> None:
        """Wake them: call it whenever a Job of the namespace changes or goes."""
        self._advance_namespace(namespace, removed=removed)
        for pool in self._pools:
            self._advance_pool(pool)

    def _advance_namespace(self, namespace: str, *, removed: bool = False) -> None:
        for resource, key in self.next(namespace, removed=removed):
            self._wake(resource, key)

    def _advance_pool(self, pool: str) -> None:
        for resource, key in self.next_in(pool):
            self._wake(resource, key)

    def _enter(self, resource: Resource, obj: Obj) -> Pool | None:
        """The pool that it needs a place in; None where places aren't counted. What it had or
        waited for in another one is another's."""
        owner, placement = (resource, key_of(obj)), _placement(obj)
        pool = self._platform.pool(terms.pool_name(placement, owner[1][0], self._platform))
        name = pool.name if pool is not None and pool.name in self._pools else None
        if self._in_pool.get(owner) not in (None, name):
            self._leave_pool(owner)
        if name is None:
            return None
        self._in_pool[owner] = name
        return pool

    def _leave_pool(self, owner: Owner) -> None:
        name = self._in_pool.pop(owner, None)
        if name is None:
            return
        group = self._pools[name]
        had = group.reserved.pop(owner, None) is not None
        if group.waiting.leave(owner) or had:
            self._advance_pool(name)

    def _most(self, namespace: str) -> int | None:
        return self._platform.for_namespace(namespace).max_runs

    def _of(self, namespace: str) -> _Namespace:
        return self._namespaces.setdefault(namespace, _Namespace())

    def _taken(self, namespace: str) -> Set[str]:
        here = self._namespaces.get(namespace)
        live = self._live.owners(namespace)
        return live | set(here.reserved.values()) if here and here.reserved else live

    def _taken_in(self, pool: Pool) -> int:
        """How many places of a pool are taken. What a Job says of its pool and owner is a word of
        whoever made it: a namespace takes no more than may run there at once, so that it can't
        fill a pool with Jobs of its own making."""
        live, taken = self._live.in_pool(pool.name), 0
        for namespace, owners in live.items():
            if not pool.namespaces or namespace in pool.namespaces:
                most = self._most(namespace)
                taken += len(owners) if most is None else min(most, len(owners))
        reserved = self._pools[pool.name].reserved.items()
        return taken + sum(uid not in live.get(key[0], ()) for (_, key), uid in reserved)


def _placement(obj: Obj) -> Placement:
    try:
        return Placement.read((obj.get("spec") or {}).get("placement") or {})
    except ValidationError:  # it doesn't start, and is told why elsewhere
        return Placement()


def _waits(obj: Obj, reason: str) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any(condition.get("reason") == reason for condition in conditions)
