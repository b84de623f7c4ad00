"""How many runs of a namespace go on at once, and who comes next."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.operator.builders import SPEC, NothingOptional, limited, platform

from luthier_operator.adapterbundle.kind import ADAPTER_BUNDLE
from luthier_operator.errors import ApiError, ApiUnreachableError, Refusal, refusal_of
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.pace import Pace
from luthier_operator.reports import Reports
from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    FINE_TUNE_JOBS,
    JOBS,
    OPTIMIZE_JOBS,
    POOL_ANNOTATION,
    QUEUE_LABEL,
    SUSPENDED_ANNOTATION,
    UID_LABEL,
    Key,
    Obj,
    Resource,
    key_of,
)
from luthier_operator.run.concurrency import (
    LOOK_SECONDS,
    PROBES,
    QUOTA_EXCEEDED,
    Live,
    Slots,
    place_in_line,
    takes_a_place,
)
from luthier_operator.run.enquiry import Warnings
from luthier_operator.run.reconcile import Reconciler
from luthier_operator.store import Store, trim


def owner(name: str, second: int = 0, *, namespace: str = "team", pool: str | None = None) -> Obj:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{namespace}-{name}",
            "creationTimestamp": f"2026-01-01T00:00:{second:02}Z",
            "resourceVersion": "1",
            "generation": 1,
        },
        "spec": SPEC | ({"placement": {"pool": pool}} if pool else {}),
        "status": {},
    }


def job(of: Obj, version: int = 1, *, end: str | None = None, **spec: Any) -> Obj:
    metadata, pool = of["metadata"], of["spec"].get("placement", {}).get("pool", "cpu")
    queue = {QUEUE_LABEL: spec.pop("queue")} if "queue" in spec else {}
    return {
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name']}-job",
            "uid": f"job-{metadata['uid']}",
            "labels": {UID_LABEL: metadata["uid"], **queue},
            "annotations": {POOL_ANNOTATION: pool},
            "resourceVersion": str(version),
        },
        "spec": spec,
        "status": {"conditions": [{"type": end, "status": "True"}] if end else []},
    }


class Team:
    """Slots over a store, and who was woken."""

    def __init__(self, most: int | None = 2, **pools: int) -> None:
        """`most`: in each namespace; `pools`: in these, beside `cpu`, which has no such number."""
        self.store = Store()
        self.woken: list[str] = []
        self.slots = Slots(
            self.store.live, limited(most, **pools), lambda _, key: self.woken.append(key[1])
        )

    def admit(self, obj: Obj, resource: Resource = FINE_TUNE_JOBS) -> Refusal | None:
        return self.slots.admit(resource, obj, starts=True)

    def run(self, obj: Obj, resource: Resource = FINE_TUNE_JOBS) -> bool:
        """Start it if there is a place."""
        if self.admit(obj, resource) is not None:
            return False
        self.store.put(JOBS, job(obj))
        self.slots.settle(resource, obj, None)
        return True

    def end(self, obj: Obj) -> None:
        """As the watch tells it."""
        self.store.put(JOBS, job(obj, 2, end="Complete"))
        self.slots.advance(obj["metadata"]["namespace"])

    def remove(self, obj: Obj) -> None:
        self.store.remove(JOBS, job(obj, 3))
        self.slots.advance(obj["metadata"]["namespace"], removed=True)


A, B, C, D = (owner(name, second) for second, name in enumerate("abcd"))


@pytest.mark.parametrize(
    ("made", "takes"),
    [
        (job(A), True),
        (job(A, end="Complete"), False),
        (job(A, end="Failed"), False),
        (job(A, end="SuccessCriteriaMet"), True),  # its pods may still run
        (job(A, suspend=True), False),
        (job(A, suspend=True, queue="team"), True),  # Kueue may start it at any time
    ],
)
def test_which_jobs_take_a_place(made: Obj, takes: bool) -> None:
    assert takes_a_place(trim(JOBS, made)) is takes


def test_the_store_counts_owners_not_jobs() -> None:
    store = Store()
    store.put(JOBS, job(A))
    again = job(A)
    again["metadata"] |= {"name": "other", "uid": "other"}
    store.put(JOBS, again)
    store.put(JOBS, job(owner("x", namespace="elsewhere")))
    assert set(store.live.owners("team")) == {"uid-team-a"}
    store.put(JOBS, job(A, 2, end="Failed"))
    assert set(store.live.owners("team")) == {"uid-team-a"}
    store.remove(JOBS, again)
    assert not store.live.owners("team")
    assert set(store.live.owners("elsewhere")) == {"uid-elsewhere-x"}


def test_as_many_as_there_are_places_and_the_oldest_first() -> None:
    team = Team(most=2)
    assert team.run(A)
    assert team.run(B)
    # The younger one asks first.
    assert not team.run(D)
    assert not team.run(C)
    refusal = team.admit(D)
    assert refusal is not None
    assert refusal.reason == "TooManyRuns"
    assert not refusal.terminal
    assert "may have 2 runs at once" in refusal.message
    assert "has 2" in refusal.message
    assert "it is number 2 in line" in refusal.message
    team.end(A)
    assert team.woken == ["c"]
    assert not team.run(D), "it isn't its turn"
    assert team.run(C)
    team.remove(B)
    assert team.woken[-1] == "d"
    assert team.run(D)


def test_of_the_same_age_the_name_decides_and_kinds_share_the_places() -> None:
    team = Team(most=1)
    assert team.run(owner("m"))
    waiting = [owner("z", 1), owner("b", 1), owner("b", 1)]
    for obj, kind in zip(waiting, (FINE_TUNE_JOBS, OPTIMIZE_JOBS, ADAPTER_BUNDLES), strict=True):
        obj["metadata"]["uid"] += kind.plural
        assert not team.run(obj, kind)
    team.end(owner("m"))
    assert team.woken == ["b"]
    assert team.slots.next("team") == [(ADAPTER_BUNDLES, ("team", "b"))]


def test_namespaces_have_places_of_their_own() -> None:
    team = Team(most=1)
    assert team.run(A)
    assert team.run(owner("a", namespace="elsewhere"))
    assert not team.run(B)
    team.end(owner("a", namespace="elsewhere"))
    assert team.woken == []


def test_two_that_are_looked_at_together_do_not_both_take_the_last_place() -> None:
    team = Team(most=1)
    assert team.admit(A) is None
    # A's Job is being created: no answer yet.
    assert team.admit(B) is not None
    team.slots.settle(FINE_TUNE_JOBS, A, Refusal("PodSecurityViolation", "no"))
    assert team.woken == ["b"], "the API server refused it: the place is free"
    assert team.admit(B) is None


def test_a_place_is_kept_until_it_is_known_what_became_of_the_job() -> None:
    team = Team(most=1)
    assert team.admit(A) is None
    # No answer, so no `settle`: the Job may be there. It is tried again, and takes no second one.
    assert team.admit(A) is None
    assert team.admit(B) is not None
    team.slots.leave(FINE_TUNE_JOBS, key_of(A))
    assert team.woken == ["b"]


def test_who_leaves_the_line_holds_nobody_up() -> None:
    team = Team(most=1)
    team.run(A)
    for obj in (B, C):
        assert not team.run(obj)
    assert team.slots.admit(FINE_TUNE_JOBS, B, starts=False) is None  # suspended, say
    team.end(A)
    assert team.woken == ["c"]
    team.woken.clear()
    team.slots.leave(FINE_TUNE_JOBS, key_of(C))  # deleted
    assert team.run(D)


def test_a_larger_number_or_none_lets_them_all_in() -> None:
    team = Team(most=1)
    team.run(A)
    for obj in (B, C):
        assert not team.run(obj)
    team.slots._platform = limited(None)
    assert team.slots.next("team") == [(FINE_TUNE_JOBS, key_of(B)), (FINE_TUNE_JOBS, key_of(C))]
    assert team.run(C)
    assert team.run(B)


def test_the_line_is_known_again_after_a_restart() -> None:
    team = Team(most=1)
    team.store.put(JOBS, job(A))
    waits = {"type": "Scheduled", "status": "False", "reason": "TooManyRuns"}
    team.slots.rebuild((FINE_TUNE_JOBS, it | {"status": {"conditions": [waits]}}) for it in (C, B))
    team.end(A)
    assert team.woken == ["b"]
    assert not team.run(D), "it comes after those that waited before"
    # One that is deleted meanwhile holds nobody up.
    team.slots.leave(FINE_TUNE_JOBS, key_of(B))
    team.slots.leave(FINE_TUNE_JOBS, key_of(C))
    assert team.run(D)


def test_nothing_is_remembered_of_a_namespace_where_nobody_waits() -> None:
    team = Team(most=1)
    for number in range(100):
        obj = owner("a", namespace=f"n{number}")
        assert team.run(obj)
        team.end(obj)
        team.remove(obj)
    assert not team.slots._namespaces
    assert not team.store.live._jobs
    assert not team.store.live._pools


def test_places_far_behind_are_told_roughly() -> None:
    assert place_in_line(0) == "it is number 1 in line"
    assert place_in_line(9) == "it is number 10 in line"
    told = {place_in_line(ahead) for ahead in range(10_000)}
    assert len(told) == 16, "few changes on the way, each a write"
    assert "at least 500 come before it" in told


# Places of a pool.


def of_pool(name: str, second: int, namespace: str = "team", pool: str = "big") -> Obj:
    return owner(name, second, namespace=namespace, pool=pool)


def test_a_pool_has_places_that_all_namespaces_share() -> None:
    team = Team(most=None, big=2)
    first, second, third, fourth = (
        of_pool(name, number, f"ns-{name}") for number, name in enumerate("abcd")
    )
    assert team.run(first)
    assert team.run(second)
    assert not team.run(fourth)
    assert not team.run(third)
    refusal = team.admit(fourth)
    assert refusal is not None
    assert (refusal.reason, refusal.terminal) == ("PoolFull", False)
    assert "Pool 'big' may have 2 runs at once" in refusal.message
    assert "it is number 2 in line" in refusal.message
    assert team.run(owner("small")), "the other pool has no such number"
    team.end(first)
    assert team.woken == ["c"]
    assert not team.run(fourth), "it isn't its turn"
    assert team.run(third)
    team.remove(second)
    assert team.run(fourth)


def test_who_waits_for_a_pool_takes_no_place_of_its_namespace() -> None:
    team = Team(most=2, big=1)
    assert team.run(of_pool("a", 0, "elsewhere"))
    assert not team.run(of_pool("b", 1))
    assert team.run(owner("c", 2))
    assert team.run(owner("d", 3))
    # Now the namespace is full; the place of the pool goes to the next.
    assert not team.run(of_pool("e", 4, "third"))
    team.woken.clear()
    team.end(of_pool("a", 0, "elsewhere"))
    assert team.woken == ["b"]
    refusal = team.admit(of_pool("b", 1))
    assert refusal is not None
    assert refusal.reason == "TooManyRuns"
    assert team.woken == ["b", "e"]
    assert team.run(of_pool("e", 4, "third"))
    # And the oldest of the namespace is the next there, before one that came later.
    team.end(owner("c", 2))
    assert team.woken[-1] == "b"
    assert not team.run(owner("f", 5))


def test_who_waits_for_its_namespace_holds_up_no_pool() -> None:
    team = Team(most=1, big=1)
    assert team.run(owner("a"))
    assert not team.run(of_pool("b", 1))
    assert team.run(of_pool("c", 2, "elsewhere"))
    team.woken.clear()
    # Its namespace's place is of no use to it: the next one is woken.
    assert not team.run(owner("d", 3))
    team.end(owner("a"))
    assert team.woken == ["b"]
    assert not team.run(of_pool("b", 1))
    assert team.woken == ["b", "d"]
    assert team.run(owner("d", 3))


def test_a_place_of_a_pool_is_reserved_while_the_job_is_created() -> None:
    team = Team(most=None, big=1)
    one, two = of_pool("a", 0), of_pool("b", 1, "elsewhere")
    assert team.admit(one) is None
    assert team.admit(one) is None, "its own"
    assert team.admit(two) is not None
    team.slots.settle(FINE_TUNE_JOBS, one, Refusal("PodSecurityViolation", "no"))
    assert team.woken == ["b"]
    assert team.admit(two) is None
    team.slots.leave(FINE_TUNE_JOBS, key_of(two))
    assert not team.slots._in_pool


def test_another_pool_is_another_line() -> None:
    team = Team(most=None, big=1, wide=1)
    assert team.run(of_pool("a", 0))
    assert not team.run(of_pool("b", 1))
    assert not team.run(of_pool("c", 2))
    team.woken.clear()
    assert team.run(of_pool("b", 1, pool="wide")), "edited"
    team.end(of_pool("a", 0))
    assert team.woken == ["c"]


def test_jobs_of_ones_own_making_fill_no_pool_beyond_what_a_namespace_may() -> None:
    team = Team(most=2, big=3)
    for number in range(50):
        team.store.put(JOBS, job(of_pool(f"made-up-{number}", 0, "greedy")))
    assert team.run(of_pool("a", 1)), "greedy may have two"
    assert not team.run(of_pool("b", 2))
    # A namespace that may not use a pool takes nothing of it.
    for number in range(50):
        team.store.put(JOBS, job(of_pool(f"made-up-{number}", 0, "stranger", "gpu")))
    limits = limited(None)
    gpu = limits.pools[1].model_copy(update={"max_runs": 1})
    rich = Slots(team.store.live, limits.model_copy(update={"pools": [gpu]}), lambda *_: None)
    assert rich.admit(FINE_TUNE_JOBS, of_pool("a", 1, "rich", "gpu"), starts=True) is None


def test_both_lines_are_known_again_after_a_restart() -> None:
    team = Team(most=1, big=1)
    team.store.put(JOBS, job(owner("a")))
    team.store.put(JOBS, job(of_pool("b", 1, "elsewhere")))

    def waits(obj: Obj, reason: str) -> Obj:
        condition = {"type": "Scheduled", "status": "False", "reason": reason}
        return obj | {"status": {"conditions": [condition]}}

    waiting = [
        waits(owner("c", 2), "TooManyRuns"),
        waits(of_pool("d", 3, "third"), "PoolFull"),
        # Its pool has no such number any more.
        waits(of_pool("e", 4, "fourth", "cpu"), "PoolFull"),
    ]
    junk = waits(of_pool("f", 5, "fifth"), "PoolFull")
    junk["spec"] = {"placement": {"pool": ["big"]}}
    team.slots.rebuild((FINE_TUNE_JOBS, it) for it in [*waiting, junk])
    assert not team.run(of_pool("g", 6, "sixth")), "it comes after those that waited before"
    team.end(owner("a"))
    assert team.woken == ["c"]
    team.end(of_pool("b", 1, "elsewhere"))
    assert team.woken == ["c", "d"]


@settings(max_examples=80, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("ask", "ask", "end", "fail", "leave")), st.integers(0, 9)),
        max_size=60,
    )
)
def test_with_pools_no_more_run_than_may_and_none_is_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    """Ten resources of two namespaces, five in the pool: whoever is woken asks again."""
    team = Team(most=2, big=2)
    all_ = [
        owner(f"n{number}", number, namespace=f"ns-{number % 2}", pool=("big", "cpu")[number // 5])
        for number in range(10)
    ]
    by_name = {obj["metadata"]["name"]: obj for obj in all_}
    running: set[str] = set()
    wanting: set[str] = set()

    def ask(name: str) -> None:
        wanting.add(name)
        if team.run(by_name[name]):
            running.add(name)
            wanting.discard(name)

    for step, number in steps:
        obj = all_[number]
        name = obj["metadata"]["name"]
        if step == "ask" and name not in running:
            ask(name)
        elif step == "fail" and name in wanting and team.admit(obj) is None:
            team.slots.settle(FINE_TUNE_JOBS, obj, Refusal("JobRejected", "no", terminal=True))
            team.slots.leave(FINE_TUNE_JOBS, key_of(obj))
            wanting.discard(name)
        elif step == "end" and name in running:
            running.discard(name)
            team.remove(obj)
        elif step == "leave" and name in wanting:
            wanting.discard(name)
            team.slots.leave(FINE_TUNE_JOBS, key_of(obj))
        for woken in range(1_000):
            if not team.woken:
                break
            if (name := team.woken.pop(0)) in wanting:
                ask(name)
            assert woken < 900, "they wake each other for ever"

        def of(which: str) -> int:
            return sum(
                which in (it["metadata"]["namespace"], it["spec"]["placement"]["pool"])
                for it in (by_name[name] for name in running)
            )

        assert max(of("ns-0"), of("ns-1"), of("big")) <= 2
        # Nobody waits who could start.
        for name in wanting:
            metadata, pool = by_name[name]["metadata"], by_name[name]["spec"]["placement"]["pool"]
            assert of(metadata["namespace"]) == 2 or (pool == "big" and of("big") == 2), name
    assert team.slots._in_pool.keys() <= {(FINE_TUNE_JOBS, key_of(by_name[it])) for it in wanting}


QUOTA = Refusal("QuotaExceeded", "exceeded quota: none")


def held_team(count: int) -> tuple[Team, list[Obj]]:
    """All of them asked, and what asked the API server was refused by a quota."""
    team, all_ = Team(most=None), [owner(f"n{number:03}", number) for number in range(count)]
    for obj in all_:
        if team.admit(obj) is None:
            team.slots.settle(FINE_TUNE_JOBS, obj, QUOTA)
    return team, all_


def test_only_the_oldest_few_ask_what_the_quota_says() -> None:
    team, all_ = held_team(50)
    asked = [obj for obj in all_ if team.admit(obj) is None]
    assert asked == all_[:PROBES]
    told = team.admit(all_[-1])
    assert told == QUOTA
    # With room for one more Job the oldest is woken, gets it, and wakes those behind it.
    team.slots.advance("team", removed=True)
    assert team.woken == ["n000", "n001"]
    team.woken.clear()
    assert team.run(all_[0])
    assert team.woken == ["n001", "n002"]


def test_one_that_needs_no_more_gives_its_try_to_the_next() -> None:
    team, all_ = held_team(5)
    team.slots.leave(FINE_TUNE_JOBS, key_of(all_[0]))
    assert team.woken == ["n001", "n002"]
    assert team.admit(all_[2]) is None


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(("ask", "end", "fail", "leave")), st.integers(0, 7))))
def test_whatever_happens_no_more_run_than_may_and_none_is_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    team, all_ = Team(most=2), [owner(f"n{number}", number) for number in range(8)]
    running: set[int] = set()
    wanting: set[int] = set()
    for step, number in steps:
        obj = all_[number]
        if step == "ask" and number not in running:
            wanting.add(number)
            if team.run(obj):
                running.add(number)
                wanting.discard(number)
        elif step == "fail" and number in wanting and team.admit(obj) is None:
            team.slots.settle(FINE_TUNE_JOBS, obj, Refusal("JobRejected", "no", terminal=True))
            team.slots.leave(FINE_TUNE_JOBS, key_of(obj))
            wanting.discard(number)
        elif step == "end" and number in running:
            running.discard(number)
            team.remove(obj)
            # Its name is new.
            all_[number] = owner(f"{obj['metadata']['name']}x", number)
        elif step == "leave" and number in wanting:
            wanting.discard(number)
            team.slots.leave(FINE_TUNE_JOBS, key_of(obj))
        assert len(running) <= 2
        # Whoever could start now is among those who are next.
        following = {key[1] for _, key in team.slots.next("team")}
        oldest = sorted(wanting)[: 2 - len(running)]
        assert {all_[number]["metadata"]["name"] for number in oldest} <= following


class Server:
    """Takes Jobs and statuses after a pause, as the API server would; counts what it is asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.jobs: list[str] = []
        self.gets = self.version = 0
        self.error: Exception | None = None

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        self.gets += 1
        await asyncio.sleep(0)
        return self.store.get(resource, key)

    async def create(self, _resource: Resource, obj: Obj) -> Obj:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.version += 1
        self.jobs.append(obj["metadata"]["labels"][UID_LABEL])
        metadata = obj["metadata"] | {"uid": f"j{self.version}", "resourceVersion": "1"}
        return {**obj, "metadata": metadata, "status": {}}

    async def patch_status(self, _resource: Resource, obj: Obj, changes: Obj) -> Obj:
        await asyncio.sleep(0)
        version = str(int(obj["metadata"]["resourceVersion"]) + 1)
        status = {**obj["status"], **changes}
        return {
            **obj,
            "metadata": obj["metadata"] | {"resourceVersion": version},
            "status": {name: it for name, it in status.items() if it is not None},
        }


class Recorder:
    def emit(self, *_: Any) -> None:
        pass


def reconciler(team: Team, server: Server, kind: Any = FINE_TUNE_JOB) -> Any:
    return Reconciler(
        kind,
        server,  # type: ignore[arg-type]
        team.store,
        Reports(),
        Recorder(),  # type: ignore[arg-type]
        platform(),
        NothingOptional(),
        Pace(lambda: team.store.running),
        slots=team.slots,
        warnings=Warnings(server),  # type: ignore[arg-type]
        written=lambda *_: None,
    )


async def test_reconciliations_at_once_create_no_more_jobs_than_there_are_places() -> None:
    team = Team(most=2)
    server = Server(team.store)
    reconcile = reconciler(team, server)
    all_ = [owner(f"n{number}", number) for number in range(10)]
    for obj in all_:
        team.store.put(FINE_TUNE_JOBS, obj)
    again = await asyncio.gather(*(reconcile(key_of(obj)) for obj in all_))
    assert server.jobs == ["uid-team-n0", "uid-team-n1"]
    assert again[2:] == [LOOK_SECONDS] * 8
    held = team.store.get(FINE_TUNE_JOBS, ("team", "n4"))
    assert held is not None
    scheduled = next(it for it in held["status"]["conditions"] if it["type"] == "Scheduled")
    assert scheduled["reason"] == "TooManyRuns"
    assert held["status"]["phase"] == "Pending"
    assert "jobName" not in held["status"]
    # Who waits asks the API server for nothing.
    gets = server.gets
    await asyncio.gather(*(reconcile(key_of(obj)) for obj in all_[2:]))
    assert server.gets == gets


async def test_a_full_quota_is_asked_by_few_and_ever_more_seldom() -> None:
    team = Team(most=None)
    server = Server(team.store)
    server.error = ApiError(403, "Forbidden", "exceeded quota: count/jobs.batch")
    reconcile = reconciler(team, server)
    all_ = [owner(f"n{number}", number) for number in range(10)]
    for obj in all_:
        team.store.put(FINE_TUNE_JOBS, obj)
    waits: list[float] = []
    for _ in range(12):
        gets = server.gets
        again = [await reconcile(key_of(obj)) for obj in all_]
        assert server.gets - gets <= PROBES
        waits.append(again[0])
    assert waits == sorted(waits)
    assert waits[-1] == LOOK_SECONDS


async def test_no_answer_keeps_the_place_for_the_next_try() -> None:
    team = Team(most=1)
    server = Server(team.store)
    reconcile = reconciler(team, server)
    for obj in (A, B):
        team.store.put(FINE_TUNE_JOBS, obj)
    server.error = ApiUnreachableError("gone")
    with pytest.raises(ApiUnreachableError):
        await reconcile(key_of(A))
    server.error = None
    await reconcile(key_of(B))
    assert server.jobs == [], "A's Job may be there"
    await reconcile(key_of(A))
    assert server.jobs == ["uid-team-a"]


async def test_who_is_resumed_needs_a_place_as_well() -> None:
    team = Team(most=1)
    server = Server(team.store)
    reconcile = reconciler(team, server)
    team.store.put(FINE_TUNE_JOBS, B)
    await reconcile(key_of(B))
    (made,) = (it for _, it in team.store.all(JOBS))
    paused = {**made, "spec": {"suspend": True}}
    marked = made["metadata"]["annotations"] | {SUSPENDED_ANNOTATION: "true"}
    paused["metadata"] = made["metadata"] | {"resourceVersion": "2", "annotations": marked}
    team.store.put(JOBS, paused)
    assert team.run(A), "a suspended run has given its place away"
    # B's spec says no more that it is suspended: nobody patches its Job, for A runs.
    assert await reconcile(key_of(B)) == LOOK_SECONDS
    team.end(A)
    assert team.woken == ["b"]


async def test_a_resource_that_goes_gives_its_place_to_the_next() -> None:
    team = Team(most=1)
    server = Server(team.store)
    reconcile = reconciler(team, server)
    bundles = reconciler(team, server, ADAPTER_BUNDLE)
    for obj in (A, B):
        team.store.put(FINE_TUNE_JOBS, obj)
        await reconcile(key_of(obj))
    team.store.remove(FINE_TUNE_JOBS, B)
    await reconcile(key_of(B))
    assert team.slots.next("team") == []
    await bundles(("team", "none"))
    team.end(A)
    assert team.woken == []


def test_a_count_is_never_negative() -> None:
    live = Live()
    live.count(trim(JOBS, job(A)), 1)
    live.count(trim(JOBS, job(A)), -1)
    assert not live.owners("team")


def test_a_quota_is_told_in_the_same_words_to_all() -> None:
    words = "forbidden: exceeded quota: none, requested: count/jobs.batch=1"
    told = {
        refusal_of(ApiError(403, "Forbidden", f'jobs.batch "{name}" is {words}'))
        for name in ("tone-1", "mood-2")
    }
    assert told == {Refusal(QUOTA_EXCEEDED, f"its Job is {words}")}
