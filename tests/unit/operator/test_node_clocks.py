"""A node whose clock is a day off: no time that it tells decides anything, or is shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from unit.operator.builders import NOW, ended, job_of, message, observed, pod_of, reasons, result
from unit.operator.test_reports import report
from unit.operator.test_version_skew import FIRST, OWN
from unit.operator.test_write_pace import KEY, Run

from luthier_operator.conditions import timestamp
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS, PODS, Obj
from luthier_operator.run.reconcile import ENDING_SECONDS

CREATED = "2026-01-02T03:04:00Z"
days = pytest.mark.parametrize(
    "off", [timedelta(days=-1), timedelta(days=1)], ids=["behind", "ahead"]
)


def told(off: timedelta, **progress: Any) -> Obj:
    """A progress as such a trainer writes it."""
    times = {
        "updated": (NOW + off).isoformat(timespec="seconds"),
        "estimatedFinish": (NOW + off + timedelta(minutes=5)).isoformat(timespec="seconds"),
    }
    return {"step": 40, "totalSteps": 100} | times | progress


def over(off: timedelta, code: int, message: str = "") -> Obj:
    """The state of a container that has just ended, by its kubelet."""
    state = ended(code, message)
    state["terminated"] |= dict.fromkeys(("startedAt", "finishedAt"), timestamp(NOW + off))
    return state


@days
def test_the_end_is_expected_by_the_operators_clock(off: timedelta) -> None:
    reports = Reports()
    reports.put(report(1, progress=told(off), etaSeconds=300), NOW)
    received = reports.get(FINE_TUNE_JOBS, KEY)
    assert received is not None
    progress = received.report.progress
    assert progress.estimated_finish == timestamp(NOW + timedelta(minutes=5))
    assert (progress.eta, progress.updated) == ("5m", timestamp(NOW))
    # Without what is left of it, a time by another clock says nothing.
    reports.put(report(2, progress=told(off, eta="9m"), etaSeconds=None), NOW)
    received = reports.get(FINE_TUNE_JOBS, KEY)
    assert received is not None
    assert (received.report.progress.estimated_finish, received.report.progress.eta) == (None, None)


@days
def test_a_results_times_are_not_shown(off: timedelta) -> None:
    artifact = {"uri": OWN, "manifestSha256": "0" * 64}
    job = job_of(FIRST, end="Complete")
    written = result(FIRST, artifact=artifact, progress=told(off, step=100))
    pod = pod_of(job, phase="Succeeded", state=over(off, 0, written), created=CREATED)
    reports = Reports()
    run = {**report(1).run.to_json(), "revision": FIRST.name}
    reports.put(report(9, run=run, pod="pod-1"), NOW)
    received = reports.get(FINE_TUNE_JOBS, KEY)
    assert received is not None
    seen = observed(jobs=[job], pods=[pod], report=received.report)
    status = compute(seen, decide(seen))
    assert status.phase == "Complete"
    assert status.progress is not None
    assert status.progress.step == 100
    assert status.progress.updated == timestamp(NOW)
    assert status.progress.estimated_finish is None


@days
def test_after_an_interruption_the_next_pod_tells_when_it_ends(off: timedelta) -> None:
    job = job_of(FIRST)
    written = result(FIRST, outcome="Interrupted", progress=told(off))
    pods = [
        pod_of(job, "a", phase="Failed", state=over(off, 75, written), created=CREATED),
        pod_of(job, "b", created=CREATED),
    ]
    seen = observed(jobs=[job], pods=pods)
    status = compute(seen, decide(seen))
    assert status.phase == "Running"
    assert status.progress is not None
    assert (status.progress.step, status.progress.estimated_finish) == (40, None)


@days
def test_a_run_starts_after_its_pod_was_made_and_not_in_the_future(off: timedelta) -> None:
    job = job_of(FIRST)
    running = {"running": {"startedAt": timestamp(NOW + off)}}
    seen = observed(jobs=[job], pods=[pod_of(job, state=running, created=CREATED)])
    started = compute(seen, decide(seen)).start_time
    assert started == (CREATED if off < timedelta() else timestamp(NOW))


@days
async def test_a_pods_end_waits_for_its_jobs_and_not_for_ever(off: timedelta) -> None:
    run = Run()
    pod = pod_of(run.job, phase="Succeeded", state=over(datetime.now(UTC) - NOW + off, 0))
    pod["metadata"]["resourceVersion"] = "9"
    run.store.put(PODS, pod)
    assert await run.reconcile(KEY) == ENDING_SECONDS
    assert run.server.writes == 0
    run.now += ENDING_SECONDS
    await run.reconcile(KEY)
    assert run.server.obj["status"]["phase"] == "Finishing"


@pytest.mark.parametrize(("seconds", "told"), [(-86_400, False), (30, False), (86_400, True)])
def test_what_waits_for_a_clock_that_is_ahead_says_so(seconds: int, told: bool) -> None:
    job = job_of(FIRST)
    pod = pod_of(job, node="hasty", phase="Failed", state=over(timedelta(seconds=seconds), 75))
    seen = observed(jobs=[job], pods=[pod])
    status = compute(seen, decide(seen))
    assert reasons(status)["Scheduled"] == f"False {'NodeClockAhead' if told else 'WaitingForPod'}"
    if told:
        assert "clock of node hasty" in message(status, "Scheduled")
