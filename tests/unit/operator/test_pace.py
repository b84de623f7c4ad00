"""Whose turn it is to be written, of runs that tell much."""

from unit.operator.builders import resource

from luthier_operator.pace import (
    ALL_BURST,
    ALL_PER_SECOND,
    NAMESPACE_BURST,
    NAMESPACE_PER_SECOND,
    PROGRESS_SECONDS,
    PROGRESS_WRITES_PER_SECOND,
    RUSH,
    RUSH_SECONDS,
    SETTLING_SECONDS,
    TOLD_BURST,
    TOLD_SECONDS,
    Pace,
)
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, Key
from luthier_operator.store import Store

TONE = ("team", "tone")


class World:
    """A pace, its clock, and runs that ask for their turn when they were told to."""

    def __init__(self, running: int = 0) -> None:
        self.now = 1000.0
        self.running = running
        self.pace = Pace(lambda: self.running, lambda: self.now)
        self.due: dict[Key, float] = {}

    def tell(self, key: Key) -> None:
        """A run has something material to tell."""
        self.due.setdefault(key, self.now)

    def written(self, seconds: float) -> dict[Key, float]:
        """Who is written within so many seconds, and when."""
        found: dict[Key, float] = {}
        end = self.now + seconds
        while self.due and (first := min(self.due.values())) <= end:
            self.now = max(self.now, first)
            for key in [it for it, at in self.due.items() if at <= self.now]:
                wait = self.pace.turn(FINE_TUNE_JOBS, key, material=True)
                if wait > 0:
                    self.due[key] = self.now + wait
                else:
                    del self.due[key]
                    found[key] = self.now
        self.now = end
        return found


def test_progress_is_due_once_an_interval_after_all_is_written() -> None:
    world = World()
    assert world.pace.until_due(FINE_TUNE_JOBS, TONE) == 0
    world.pace.up_to_date(FINE_TUNE_JOBS, TONE)
    world.now += 1
    assert world.pace.until_due(FINE_TUNE_JOBS, TONE) == PROGRESS_SECONDS - 1
    assert world.pace.turn(FINE_TUNE_JOBS, TONE, material=False) == PROGRESS_SECONDS - 1
    world.now += PROGRESS_SECONDS
    assert world.pace.turn(FINE_TUNE_JOBS, TONE, material=False) == 0


def test_the_interval_grows_with_the_runs() -> None:
    world = World(running=1000)
    assert world.pace.interval() == 1000 / PROGRESS_WRITES_PER_SECOND
    world.running = 10
    assert world.pace.interval() == PROGRESS_SECONDS


def test_a_run_that_tells_much_is_written_at_its_own_pace() -> None:
    world = World()
    for number in range(TOLD_BURST):
        assert world.pace.turn(FINE_TUNE_JOBS, TONE, material=True) == 0, number
    # Asking time and again neither puts it back nor brings it forward.
    for _ in range(50):
        assert world.pace.turn(FINE_TUNE_JOBS, TONE, material=True) == TOLD_SECONDS
    assert world.pace.until_turn(FINE_TUNE_JOBS, TONE) == TOLD_SECONDS
    assert world.pace.until_due(FINE_TUNE_JOBS, TONE) == TOLD_SECONDS
    world.now += TOLD_SECONDS
    assert world.pace.turn(FINE_TUNE_JOBS, TONE, material=True) == 0


def test_a_noisy_namespace_waits_in_its_own_line() -> None:
    world = World()
    for number in range(2_000):
        world.tell(("noisy", f"run-{number}"))
    first = world.written(1.0)
    assert len(first) <= NAMESPACE_BURST + NAMESPACE_PER_SECOND + 1
    for number in range(20):
        world.tell(("quiet", f"run-{number}"))
    began = world.now
    rest = world.written(10.0)
    quiet = [at - began for (namespace, _), at in rest.items() if namespace == "quiet"]
    assert len(quiet) == 20
    assert max(quiet) < 0.1
    # And each of the noisy ones gets its turn, in the order in which they came.
    world.written(2_000 / NAMESPACE_PER_SECOND)
    assert not world.due


def test_all_namespaces_together_have_a_bound() -> None:
    world = World()
    for number in range(3_000):
        world.tell((f"team-{number % 100}", f"run-{number}"))
    assert len(world.written(10.0)) <= ALL_BURST + 10 * ALL_PER_SECOND + 1
    world.written(3_000 / ALL_PER_SECOND)
    assert not world.due


def test_a_new_run_settles_for_a_moment_and_longer_in_a_rush() -> None:
    world = World()
    assert world.pace.until_settled(FINE_TUNE_JOBS, TONE) == 0
    world.pace.begin(FINE_TUNE_JOBS, TONE)
    assert world.pace.until_settled(FINE_TUNE_JOBS, TONE) == SETTLING_SECONDS
    world.now += SETTLING_SECONDS
    assert world.pace.until_settled(FINE_TUNE_JOBS, TONE) == 0

    for number in range(RUSH):
        world.pace.begin(FINE_TUNE_JOBS, ("team", f"many-{number}"))
    first = ("team", "many-0")
    assert world.pace.until_settled(FINE_TUNE_JOBS, first) == RUSH_SECONDS
    world.now += RUSH_SECONDS
    assert world.pace.until_settled(FINE_TUNE_JOBS, first) == 0, "nobody waits longer"
    world.pace.begin(FINE_TUNE_JOBS, TONE)
    world.pace.up_to_date(FINE_TUNE_JOBS, TONE)
    assert world.pace.until_settled(FINE_TUNE_JOBS, TONE) == 0, "its status has been written"


def test_nothing_is_kept_of_what_is_gone() -> None:
    world = World()
    for _ in range(TOLD_BURST + 1):
        world.pace.turn(FINE_TUNE_JOBS, TONE, material=True)
    world.pace.up_to_date(FINE_TUNE_JOBS, TONE)
    world.pace.drop(FINE_TUNE_JOBS, TONE)
    assert world.pace.until_due(FINE_TUNE_JOBS, TONE) == 0
    assert world.pace.turn(FINE_TUNE_JOBS, TONE, material=True) == 0


def test_the_store_counts_what_runs() -> None:
    store = Store()

    def put(name: str, version: int, phase: str) -> None:
        obj = resource(status={"phase": phase})
        obj["metadata"] |= {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
        store.put(FINE_TUNE_JOBS, obj)

    put("a", 1, "Running")
    put("b", 1, "Pending")
    put("b", 2, "Running")
    put("b", 2, "Running")  # known
    assert store.running == 2
    put("a", 3, "Complete")
    put("a", 2, "Running")  # late
    assert store.running == 1
    pod_like = {"metadata": {"namespace": "team", "name": "j", "uid": "j"}, "spec": {}}
    store.put(JOBS, pod_like | {"status": {"phase": "Running"}})
    assert store.running == 1
    known = store.get(FINE_TUNE_JOBS, ("team", "b"))
    assert known is not None
    store.remove(FINE_TUNE_JOBS, known)
    store.remove(FINE_TUNE_JOBS, known)
    assert store.running == 0
