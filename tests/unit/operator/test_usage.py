"""What runs have used: measured once, kept over restarts, leaders and months, never less."""

import asyncio
import base64
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from unit.operator.builders import job_of, platform, pod_of, resource

from luthier_api.bounds import MOST
from luthier_api.usage import (
    LEDGER_KEY,
    OTHERS,
    Ledger,
    Line,
    Used,
    lines_between,
    read_ledger,
    summed,
    totals,
    write_ledger,
)
from luthier_operator.errors import ApiError
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, Key, Obj, Resource
from luthier_operator.run.model import Revision
from luthier_operator.store import Store, trim
from luthier_operator.usage.book import MOST_USERS, Book, folded, following
from luthier_operator.usage.holding import Payer, holding_of, number
from luthier_operator.usage.keeper import Keeper
from luthier_operator.usage.meter import Meter
from luthier_operator.usage.series import text_of

START = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
R1 = Revision("r1-aaaaaaaa", 1, "aaaaaaaa")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def pod(
    name: str = "pod-1",
    *,
    started: float | None = 0,
    finished: float | None = None,
    cpu: str = "2",
    gpus: str | None = None,
    revision: str = R1.name,
    **labels: str,
) -> Obj:
    """As the API server has it."""
    obj = pod_of(job_of(Revision(revision, 1, "")), name)
    limits = {"memory": "1Gi"} | ({"nvidia.com/gpu": gpus} if gpus else {})
    trainer = {"name": "trainer", "resources": {"requests": {"cpu": cpu}, "limits": limits}}
    state: Obj = {}
    if finished is not None:
        times = {"startedAt": at(started or 0).isoformat(), "finishedAt": at(finished).isoformat()}
        state = {"terminated": times | {"exitCode": 0}}
        obj["status"]["phase"] = "Succeeded"
    elif started is not None:
        state = {"running": {"startedAt": at(started).isoformat()}}
    obj["status"]["containerStatuses"] = [{"name": "trainer", "state": state}]
    obj["metadata"]["labels"] = obj["metadata"]["labels"] | labels
    return obj | {"spec": obj["spec"] | {"containers": [trainer]}}


@dataclass
class Clock:
    """A time that tests set."""

    seconds: float = 0

    def __call__(self) -> datetime:
        return at(self.seconds)


@dataclass
class Server:
    """The ConfigMaps of a release, with optimistic locking as the API server has it."""

    objects: dict[str, Obj] = field(default_factory=dict)
    writes: int = 0
    refuses: bool = False

    @classmethod
    def of_chart(cls) -> "Server":
        def fresh(name: str) -> Obj:
            metadata = {"namespace": "sys", "name": name, "uid": name, "resourceVersion": "1"}
            return {"metadata": metadata}

        names = [f"luthier-usage-{month:02}" for month in range(1, 13)]
        return cls({name: fresh(name) for name in names})

    async def get(self, resource: Resource, key: Key) -> Obj | None:
        return self.objects.get(key[1])

    async def replace(self, resource: Resource, obj: Obj) -> Obj:
        if self.refuses:
            raise ApiError(500, "InternalError", "etcd is away")
        name, version = obj["metadata"]["name"], obj["metadata"]["resourceVersion"]
        if self.objects[name]["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "changed meanwhile")
        metadata = obj["metadata"] | {"resourceVersion": str(int(version) + 1)}
        self.objects[name] = obj | {"metadata": metadata}
        self.writes += 1
        return self.objects[name]

    def ledger(self, month: str = "11") -> Ledger:
        packed = self.objects[f"luthier-usage-{month}"]["binaryData"][LEDGER_KEY]
        return read_ledger(base64.b64decode(packed))


class Operator:
    """A process that leads: its store, and its keeper."""

    def __init__(self, server: Server, clock: Clock, *objects: tuple[Resource, Obj]) -> None:
        self.store, self.clock = Store(), clock
        self._version = 100
        for each in objects:
            self._put(*each)
        gpus = {"gpuResource": "nvidia.com/gpu"}
        self.keeper = Keeper(server, self.store, platform(**gpus), "sys", "luthier", 60, 1, clock)
        self.look()

    def _put(self, resource: Resource, obj: Obj) -> None:
        self._version += 1
        versioned = obj["metadata"] | {"resourceVersion": str(self._version)}
        self.store.put(resource, obj | {"metadata": versioned})

    def see(self, resource: Resource, obj: Obj) -> None:
        self._put(resource, obj)
        self.keeper.see(resource, obj)

    def gone(self, obj: Obj) -> None:
        self.store.remove(PODS, obj)
        self.keeper.see(PODS, obj)

    def look(self, seconds: float | None = None) -> None:
        """One round: reads the ledger, or writes it."""
        if seconds is not None:
            self.clock.seconds = seconds
        asyncio.run(self.keeper._attempt())

    def used(self) -> Used:
        """What the counters show, of all accounts."""
        sums = Used()
        for it in self.keeper.shown:
            sums += it
        return sums


@pytest.fixture
def server() -> Server:
    return Server.of_chart()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_pods_time_is_charged_with_what_it_holds(server: Server, clock: Clock) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()), (JOBS, job_of(R1)))
    operator.see(PODS, pod(gpus="2"))
    operator.look(60)
    clock.seconds = 90
    operator.see(PODS, pod(gpus="2", finished=90))
    operator.look(120)
    operator.look(180)
    (total,) = operator.keeper.shown
    assert (total.namespace, total.pool, total.kind) == ("team", "cpu", "FineTuneJob")
    assert (total.gpu_seconds, total.cpu_seconds) == (180, 180)


def test_who_begins_is_shown_with_nothing_first(server: Server, clock: Clock) -> None:
    """Prometheus' increase() doesn't count what a series begins with."""
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod())
    (total,) = operator.keeper.shown
    assert total.cpu_seconds == 0
    operator.look(60)
    assert operator.used().cpu_seconds == 120


def test_a_pod_that_is_deleted_between_two_looks_counts(server: Server, clock: Clock) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod(started=0))
    clock.seconds = 20
    operator.gone(pod())
    operator.look(60)
    operator.look(120)
    assert operator.used().cpu_seconds == 40


def test_a_short_run_that_is_seen_only_when_it_has_ended_counts(
    server: Server, clock: Clock
) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    clock.seconds = 30
    operator.see(PODS, pod(started=5, finished=25))
    operator.look(60)
    assert operator.used().cpu_seconds == 40


@pytest.mark.parametrize("killed", [False, True])
def test_the_next_leader_goes_on_where_the_last_one_wrote(
    server: Server, clock: Clock, killed: bool
) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod(gpus="1"))
    operator.look(60)
    shown = operator.used().gpu_seconds
    if not killed:
        operator.look(80)
    # Nobody leads for an hour; the pod goes on.
    clock.seconds = 3600
    after = Operator(server, clock, (FINE_TUNE_JOBS, resource()), (PODS, pod(gpus="1")))
    assert after.used().gpu_seconds >= shown
    after.look(3660)
    assert after.used().gpu_seconds == 3660
    # One that ended while nobody led, and whose pod is still there.
    clock.seconds = 7200
    ended = pod(gpus="1", finished=4000)
    last = Operator(server, clock, (FINE_TUNE_JOBS, resource()), (PODS, ended))
    last.look(7260)
    assert last.used().gpu_seconds == 4000


def test_what_was_there_before_the_first_ledger_is_not_charged(
    server: Server, clock: Clock
) -> None:
    clock.seconds = 600
    of = {"revision": "r1-a", "usage": {"trainedTokens": 5000}}
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource(status=of)), (PODS, pod()))
    operator.look(660)
    assert operator.used() == Used(cpu_seconds=120)


@pytest.mark.parametrize("off", [-86_400, 86_400])
def test_a_nodes_clock_that_is_off_charges_no_day(server: Server, clock: Clock, off: float) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod(started=off))
    operator.look(60)
    operator.see(PODS, pod(started=off, finished=off + 60))
    for seconds in range(120, 600, 60):
        operator.look(seconds)
    assert operator.used().cpu_seconds <= 120


def test_two_leaders_never_both_count(server: Server, clock: Clock) -> None:
    """One that is late, e.g. stopped for a minute, finds that another one has written."""
    here = (FINE_TUNE_JOBS, resource())
    first = Operator(server, clock, here)
    first.see(PODS, pod())
    first.look(60)
    second = Operator(server, clock, here, (PODS, pod()))
    second.look(120)
    first.look(130)  # refused: 409
    first.look(140)  # reads
    assert sum(it.cpu_seconds for it in totals(server.ledger())) == 240
    assert first.used().cpu_seconds == 240


def test_what_could_not_be_written_is_not_shown_and_not_lost(server: Server, clock: Clock) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod())
    server.refuses = True
    operator.look(60)
    assert operator.used() == Used()
    server.refuses = False
    operator.look(120)
    assert operator.used().cpu_seconds == 240


def test_without_the_charts_config_maps_all_else_goes_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator(Server(), clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod())
    operator.look(60)
    assert operator.keeper.shown == []
    (told,) = [it.message for it in caplog.records if "ConfigMap" in it.message]
    assert "luthier-usage-11 in namespace sys" in told


def test_nothing_is_written_where_nothing_runs(server: Server, clock: Clock) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.look(60)
    operator.look(120)
    assert server.writes == 0


def test_a_month_goes_on_from_the_last_one(server: Server, clock: Clock) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod(cpu="1"))
    operator.look(60)
    later = 2 * 86_400
    operator.look(later)
    assert operator.used().cpu_seconds == later
    ledgers = [server.ledger("11"), server.ledger("12")]
    by_day = dict(summed(lines_between(ledgers, date(2026, 11, 1), date(2026, 12, 31)), ["day"]))
    assert {key[0]: used.cpu_seconds for key, used in by_day.items()} == {
        "2026-11-30": 43_200, "2026-12-01": 86_400, "2026-12-02": 43_200,
    }  # fmt: skip
    after = Operator(server, clock, (FINE_TUNE_JOBS, resource()), (PODS, pod(cpu="1")))
    assert after.used().cpu_seconds == later


def test_a_ledger_of_last_year_is_none(server: Server, clock: Clock) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod())
    operator.look(60)
    clock.seconds = 366 * 86_400
    after = Operator(server, clock)
    assert after.used() == Used()
    after.see(FINE_TUNE_JOBS, resource())
    after.see(PODS, pod(started=366 * 86_400))
    after.look(366 * 86_400 + 60)
    assert server.ledger("12").month == "2027-12"


def tokens(revision: str, number: int, **more: Any) -> Obj:
    return resource(status={"revision": revision, "usage": {"trainedTokens": number}} | more)


def test_tokens_are_summed_over_revisions_and_outlive_their_resource(
    server: Server, clock: Clock
) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    for seconds, told in [(60, tokens("r1-a", 100)), (120, tokens("r1-a", 150))]:
        operator.see(FINE_TUNE_JOBS, told)
        operator.look(seconds)
    operator.see(FINE_TUNE_JOBS, tokens("r2-b", 40))
    operator.look(180)
    assert operator.used().trained_tokens == 190
    clock.seconds = 200
    after = Operator(server, clock, (FINE_TUNE_JOBS, tokens("r2-b", 60)))
    after.look(240)
    assert after.used().trained_tokens == 210
    done = tokens("r2-b", 70, completionTime=at(250).isoformat())
    after.see(FINE_TUNE_JOBS, done)
    after.look(300)
    again = Operator(server, Clock(400), (FINE_TUNE_JOBS, done))
    again.look(460)
    assert again.used().trained_tokens == 220
    gone = Operator(server, Clock(500))
    assert gone.used().trained_tokens == 220


def test_numbers_without_measure_spoil_nobody_elses(server: Server, clock: Clock) -> None:
    """What code of a user's may tell, up to the bound of a report; and what no node has."""
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod(cpu="9223372036854775807", gpus="9223372036854775807"))
    for seconds, revision in ((60, "r1-a"), (120, "r2-b"), (180, "r3-c")):
        operator.see(FINE_TUNE_JOBS, tokens(revision, MOST))
        operator.look(seconds)
    other = pod("other") | {"metadata": pod("other")["metadata"] | {"namespace": "elsewhere"}}
    operator.see(PODS, other)
    operator.look(240)
    found = {it.namespace: it for it in totals(server.ledger())}
    assert found["team"].trained_tokens == MOST
    assert found["elsewhere"].cpu_seconds == 120


def test_a_defect_here_ends_nothing(
    server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator(server, clock, (FINE_TUNE_JOBS, resource()))
    operator.see(PODS, pod())
    with monkeypatch.context() as patched:
        patched.setattr("luthier_operator.usage.keeper.following", None)
        operator.look(60)
    assert "usage isn't kept" in caplog.text
    operator.look(120)  # reads
    operator.look(180)
    assert operator.used().cpu_seconds > 0


def test_who_created_it_is_in_the_ledger_and_in_no_series(server: Server, clock: Clock) -> None:
    made = resource()
    made["metadata"]["annotations"] = {"luthier.dev/created-by": "jane@example.com"}
    operator = Operator(server, clock, (FINE_TUNE_JOBS, made))
    operator.see(PODS, pod())
    operator.look(60)
    assert [it.user for it in server.ledger().lines] == ["jane@example.com"]
    text = text_of(operator.keeper.shown).decode()
    assert "jane" not in text
    assert (
        'luthier_usage_cpu_seconds_total{kind="FineTuneJob",namespace="team",pool="cpu"} 120.0'
        in text
    )


def test_names_that_are_made_up_are_one_series(server: Server) -> None:
    store = Store()
    odd = resource(placement={"pool": "made-up"})
    store.put(FINE_TUNE_JOBS, odd)
    of = holding_of(trim(PODS, pod()), store.owner(trim(PODS, pod())), store.find, platform())
    assert of is not None
    assert of.payer == Payer("team", OTHERS, "FineTuneJob", "")
    strange = trim(PODS, pod(**{"luthier.dev/kind": "Nonsense"}))
    assert holding_of(strange, None, store.find, platform()) is None


def test_a_job_of_another_namespace_lends_no_pool() -> None:
    store = Store()
    job = job_of(R1)
    job["metadata"] |= {"namespace": "elsewhere"}
    store.put(JOBS, job)
    of = holding_of(trim(PODS, pod()), None, store.find, platform())
    assert of is not None
    assert of.payer.pool == OTHERS


def test_users_of_a_day_have_a_bound() -> None:
    book = Book(Ledger(month="2026-11", until=START.isoformat()))
    for number_ in range(MOST_USERS + 20):
        book.charge(Payer("team", "cpu", "FineTuneJob", f"u{number_}"), at(0), at(1), 1, 1)
    users = [key[4] for key in book.fresh]
    assert len(users) == MOST_USERS + 1
    assert OTHERS in users
    assert sum(it.gpu_seconds for it in book.fresh.values()) == MOST_USERS + 20


def test_folding_and_rounding_move_no_total() -> None:
    """A counter that is less by a rounding counts as one that began anew."""
    book = Book(Ledger(month="2026-11", until=START.isoformat()))
    ledger, shown = book.written, 0.0
    for step in range(200):
        payer = Payer("team", "cpu", "FineTuneJob", f"u{step % 7}")
        book.charge(payer, at(step * 7000), at(step * 7000 + 0.1234567), 0.3, 0.1)
        ledger = following(ledger, book.take(), {}, at(step * 7000 + 1))
        (total,) = totals(read_ledger(write_ledger(ledger)))
        assert total.gpu_seconds >= shown
        shown = total.gpu_seconds
        assert totals(folded(ledger)) == [total]


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("2", 2), ("100m", 0.1), ("1.5", 1.5), ("1k", 1000), ("", 0), ("nonsense", 0), ("2Gi", 0)],
)
def test_quantities(quantity: str, value: float) -> None:
    assert number(quantity) == pytest.approx(value)


@pytest.mark.parametrize(
    "packed", [b"", b"no gzip", write_ledger(Ledger(month="x", until="y"))[:9]]
)
def test_what_is_no_ledger_says_so(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_ledger(packed)


def test_a_meter_forgets_pods_that_are_gone() -> None:
    charged: list[object] = []
    meter = Meter(START, lambda *it: charged.append(it))
    of = holding_of(trim(PODS, pod()), None, lambda _: None, platform())
    assert of is not None
    for each in range(100):
        ended = trim(PODS, pod(f"pod-{each}", finished=10))
        meter.see(ended, of, at(10))
        meter.gone(ended["metadata"]["uid"], at(20))
    assert len(charged) == 100
    assert not meter._open
    assert not meter._over


def test_sums_by_day_and_user() -> None:
    line = Line(day="2026-11-30", namespace="a", pool="p", kind="FineTuneJob", user="jane")
    ledger = Ledger(
        month="2026-11",
        until="",
        lines=[
            line.model_copy(update={"gpu_seconds": 5.0}),
            line.model_copy(update={"gpu_seconds": 7.0, "namespace": "b"}),
            line.model_copy(update={"gpu_seconds": 9.0, "day": "2026-11-28"}),
        ],
    )
    lines = lines_between([ledger], date(2026, 11, 29), date(2026, 11, 30))
    assert summed(lines, ["namespace"]) == [
        (("b",), Used(gpu_seconds=7)), (("a",), Used(gpu_seconds=5)),
    ]  # fmt: skip
    assert summed(lines, ["user"]) == [(("jane",), Used(gpu_seconds=12))]
