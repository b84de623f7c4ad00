"""What a pod tells is written so often and no oftener; the run's own steps are written at once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    SPEC,
    UID,
    NothingOptional,
    job_of,
    observed,
    platform,
    pod_of,
    slots,
)
from unit.operator.test_reports import report

from luthier_operator.errors import ApiError
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.pace import TOLD_BURST, TOLD_SECONDS, Pace
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, Obj
from luthier_operator.run.enquiry import Warnings
from luthier_operator.run.model import Revision
from luthier_operator.run.reconcile import UNPATCHED_SECONDS, Reconciler
from luthier_operator.store import Store

KEY = ("team", "tone")


class Server:
    """Takes writes, as the API server would."""

    def __init__(self, obj: Obj) -> None:
        self.obj = obj
        self.writes = 0
        self.error: Exception | None = None

    async def patch_status(self, _resource: Any, _obj: Obj, changes: Obj) -> Obj:
        if self.error is not None:
            raise self.error
        self.writes += 1
        status = {**self.obj["status"], **changes}
        status = {name: it for name, it in status.items() if it is not None}
        metadata = self.obj["metadata"] | {"resourceVersion": str(self.writes + 1)}
        self.obj = {**self.obj, "status": status, "metadata": metadata}
        return self.obj

    async def patch(self, *_: Any) -> Obj:
        raise ApiError(403, "Forbidden", "workloads is forbidden")

    async def warnings(self, *_: Any) -> list[str]:
        return []

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[tuple[list[Obj], int]]:
        yield [], 0


class Recorder:
    def __init__(self) -> None:
        self.events = 0

    def emit(self, *_: Any) -> None:
        self.events += 1


class Run:
    """A running run, its reconciler and a clock."""

    def __init__(self) -> None:
        metadata = {
            "namespace": "team",
            "name": "tone",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
        }
        obj = {"metadata": metadata, "spec": SPEC, "status": {}}
        self.now, self.sequence = 1000.0, 0
        self.server, self.recorder = Server(obj), Recorder()
        self.store, self.reports = Store(), Reports()
        self.store.put(FINE_TUNE_JOBS, obj)
        self.pace = Pace(lambda: self.store.running, lambda: self.now)
        decided = FINE_TUNE_JOB.decide(observed()).revision
        assert decided is not None
        self.revision = Revision(decided.name, 1, "")
        self.job = job_of(self.revision)
        self.store.put(JOBS, self.job)
        self.store.put(PODS, pod_of(self.job))
        self.reconcile = Reconciler(
            FINE_TUNE_JOB,
            self.server,  # type: ignore[arg-type]
            self.store,
            self.reports,
            self.recorder,  # type: ignore[arg-type]
            platform(),
            NothingOptional(),
            self.pace,
            slots=slots(self.store),
            warnings=Warnings(self.server, lambda: self.now),  # type: ignore[arg-type]
            written=lambda *_: None,
            clock=lambda: self.now,
        )

    async def tell(self, **fields: Any) -> float | None:
        self.sequence += 1
        told = report(self.sequence, pod="pod-1", revision=self.revision.name, **fields)
        self.reports.put(told, NOW)
        return await self.reconcile(KEY)


async def test_changing_words_are_written_at_a_pace() -> None:
    run = Run()
    waits = [await run.tell(datasetValid=True, datasetSummary=f"{n} rows") for n in range(100)]
    assert run.server.writes <= TOLD_BURST + 1
    assert waits[-1] is not None
    assert 0 < waits[-1] <= TOLD_SECONDS
    # The last word isn't lost: it is written when its time has come.
    run.now += waits[-1]
    await run.reconcile(KEY)
    assert run.server.writes <= TOLD_BURST + 2
    assert "99 rows" in str(run.server.obj["status"]["conditions"])


async def test_a_warning_that_comes_and_goes_is_no_flood_of_events() -> None:
    run = Run()
    for number in range(100):
        await run.tell(overfitting="by heart" if number % 2 else None)
    assert run.server.writes <= TOLD_BURST + 1
    assert run.recorder.events <= TOLD_BURST + 3


async def test_the_end_is_written_whatever_was_told_before() -> None:
    run = Run()
    for number in range(100):
        await run.tell(datasetValid=True, datasetSummary=f"{number} rows")
    ended = job_of(run.revision, end="Failed", reason="PodFailurePolicy")
    ended["metadata"]["resourceVersion"] = "9"
    run.store.put(JOBS, ended)
    before = run.reports.get(FINE_TUNE_JOBS, KEY)
    assert before is not None
    assert before.report.dataset_summary
    await run.reconcile(KEY)
    assert run.server.obj["status"]["phase"] == "Failed"
    # From then on what a report told is the status's to hold, but for its costs.
    after = run.reports.get(FINE_TUNE_JOBS, KEY)
    assert after is not None
    assert after.report.dataset_summary is None
    assert after.report.checkpoint_cost == before.report.checkpoint_cost


async def test_the_end_is_written_however_many_of_its_namespace_wait() -> None:
    run = Run()
    await run.reconcile(KEY)
    for number in range(2_000):
        run.pace.turn(FINE_TUNE_JOBS, ("team", f"noisy-{number}"), material=True)
    before = run.server.writes
    wait = await run.tell(datasetValid=True, datasetSummary="9 rows")
    assert wait is not None
    assert wait > 1
    assert run.server.writes == before
    ended = job_of(run.revision, end="Failed", reason="PodFailurePolicy")
    ended["metadata"]["resourceVersion"] = "9"
    run.store.put(JOBS, ended)
    await run.reconcile(KEY)
    assert run.server.obj["status"]["phase"] == "Failed"
    # It has had its say: nothing is promised to it any more.
    assert run.pace.until_turn(FINE_TUNE_JOBS, KEY) == 0


async def test_progress_that_could_not_be_written_is_written_at_the_next_try() -> None:
    run = Run()
    await run.tell()
    run.now += 60
    run.server.error = ApiError(500, "InternalError", "etcd is away")
    with pytest.raises(ApiError):
        await run.tell()
    run.server.error = None
    run.now += 0.25  # the queue's first backoff
    assert await run.reconcile(KEY) is None
    assert run.server.obj["status"]["progress"]["step"] == run.sequence


async def test_progress_is_written_once_an_interval_and_not_before() -> None:
    run = Run()
    await run.tell()
    written = run.server.writes
    waits = []
    for _ in range(4):
        run.now += 1
        waits.append(await run.tell())
    assert run.server.writes == written
    assert waits == [4, 3, 2, 1]
    run.now += 1
    assert await run.tell() is None
    assert run.server.writes == written + 1


async def test_a_change_that_is_refused_holds_up_no_status() -> None:
    run = Run()
    metadata = run.server.obj["metadata"] | {"resourceVersion": "50", "generation": 2}
    edited = run.server.obj | {"metadata": metadata}
    run.server.obj = edited | {"spec": edited["spec"] | {"limits": {"activeDeadlineSeconds": 60}}}
    run.store.put(FINE_TUNE_JOBS, run.server.obj)
    again = await run.reconcile(KEY)
    assert run.server.obj["status"]["phase"] == "Running"
    assert again is not None
    assert again <= UNPATCHED_SECONDS
