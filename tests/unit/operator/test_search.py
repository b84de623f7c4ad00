"""A search: one Indexed Job, whose pods tell of all trials, and one of which publishes."""

from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    OWNER,
    ended,
    observed,
    order_in,
    platform,
    pod_of,
    reasons,
    resource,
    result,
    spec,
    stored,
)
from unit.operator.test_reports import report, scrape

from luthier_api.runspec import RunSpec
from luthier_api.search import SearchStatus
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.finetunejob.status import compute
from luthier_operator.reports import News, Reports, Speaker
from luthier_operator.resources import FINE_TUNE_JOBS, INDEX_LABEL
from luthier_operator.run.model import Revision, have_ended
from luthier_operator.run.observe import parse_pod
from luthier_operator.store import Store

KEY = ("team", "tone")
SEARCH: dict[str, Any] = {
    "objective": {"metric": "eval_loss", "direction": "minimize"},
    "space": {"lora.rank": {"type": "int", "low": 8, "high": 64, "step": 8}},
    "trials": 4,
    "parallelism": 2,
    "maxFailedTrials": 1,
}
OWN = "s3://artifacts/models/team/tone"


def searching(**changes: Any) -> dict[str, Any]:
    return resource(search=SEARCH | changes)


def revision_of(obj: dict[str, Any]) -> Revision:
    revision = decide(observed(obj)).revision
    assert revision is not None
    return revision


def job_of_search(obj: dict[str, Any], end: str | None = None) -> dict[str, Any]:
    built = build(OWNER, spec(search=obj["spec"]["search"]), revision_of(obj), platform())[-1]
    job = stored(built, revision_of(obj), end=end)
    job["spec"]["completions"] = built["spec"]["completions"]
    return job


def worker(job: dict[str, Any], index: int, **fields: Any) -> dict[str, Any]:
    pod = pod_of(job, f"pod-{index}", **fields)
    pod["metadata"]["labels"] = pod["metadata"]["labels"] | {INDEX_LABEL: str(index)}
    return pod


def counts(complete: int, **more: Any) -> dict[str, Any]:
    return {"trials": 4, "complete": complete, **more}


def test_a_search_is_one_indexed_job_with_a_pod_for_each_trial_at_a_time() -> None:
    (job,) = build(OWNER, spec(search=SEARCH), revision_of(searching()), platform())
    assert job["spec"]["completionMode"] == "Indexed"
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    # Two pods may die of each trial that may fail, and of one more.
    assert job["spec"]["backoffLimit"] == spec().limits.max_restarts + 4
    order = order_in(decide(observed(searching())))
    assert isinstance(order, RunSpec)
    assert order.fine_tuning.search is not None
    assert order.fine_tuning.search.trials == 4


def test_there_are_no_more_pods_than_trials() -> None:
    few = spec(search=SEARCH | {"trials": 1, "parallelism": 8})
    (job,) = build(OWNER, few, revision_of(searching()), platform())
    assert job["spec"]["completions"] == 1


def test_a_run_that_does_not_search_is_no_indexed_job() -> None:
    (job,) = build(OWNER, spec(), revision_of(resource()), platform())
    assert "completionMode" not in job["spec"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"parallelism": 4}, True),
        ({"maxFailedTrials": 9}, True),
        ({"again": True}, True),
        ({"trials": 5}, False),
        ({"seed": 1}, False),
        ({"strategy": "tpe"}, False),
        ({"prune": {}}, False),
    ],
)
def test_what_of_a_search_shapes_the_result(change: dict[str, Any], same: bool) -> None:
    assert (revision_of(searching(**change)) == revision_of(searching())) is same


def test_a_space_that_no_rule_can_tell_of_is_terminal_and_names_the_field() -> None:
    space = {"lora.rank": {"type": "int", "low": 8, "high": 4096}}
    hold = decide(observed(searching(space=space))).hold
    assert hold is not None
    assert (hold.reason, hold.terminal) == ("InvalidSearch", True)
    assert "spec.search.space[lora.rank]: 4096 is more than 1024" in hold.message


def test_the_artifact_is_the_one_that_any_of_its_pods_published() -> None:
    obj = searching()
    revision, job = revision_of(obj), job_of_search(obj, end="Complete")
    output = f"{OWN}/{revision.name}"
    artifact = {"uri": output, "manifestSha256": "0" * 64}
    told = result(revision, artifact=artifact, search=counts(4), usage={"cpuSeconds": 9})
    pods = [
        worker(job, 1, phase="Succeeded", state=ended(0, told)),
        worker(job, 0, phase="Succeeded", state=ended(0, result(revision))),
    ]
    seen = observed(obj, jobs=[job], pods=pods)
    status = compute(seen, decide(seen))
    assert reasons(status)["Complete"] == "True Completed"
    assert status.artifact is not None
    assert status.artifact.uri == output
    assert status.search == SearchStatus(trials=4, complete=4)
    assert status.progress is None or status.progress.percent == "100%"


def test_without_the_pod_that_published_the_result_is_lost_not_incomplete() -> None:
    obj = searching()
    job = job_of_search(obj, end="Complete")
    pods = [worker(job, 1, phase="Succeeded", state=ended(0, result(revision_of(obj))))]
    seen = observed(obj, jobs=[job], pods=pods)
    assert reasons(compute(seen, decide(seen)))["Failed"] == "True ResultLost"


def test_the_pod_that_ended_the_search_tells_why() -> None:
    """Its successors in age are told to stop because of it."""
    obj = searching()
    revision, job = revision_of(obj), job_of_search(obj, end="Failed")
    error = {"code": "TooManyFailedTrials", "message": "2 trials failed.", "param": "search"}
    pods = [
        worker(
            job, 0, phase="Failed", state=ended(80, result(revision, outcome="Failed", error=error))
        ),
        worker(
            job,
            1,
            phase="Failed",
            state=ended(75, result(revision, outcome="Interrupted")),
            created="2026-01-02T03:05:04Z",
        ),
    ]
    seen = observed(obj, jobs=[job], pods=pods)
    status = compute(seen, decide(seen))
    assert reasons(status)["Failed"] == "True TooManyFailedTrials"


def test_a_search_goes_on_while_one_of_its_pods_does() -> None:
    job = job_of_search(searching())
    done = parse_pod(worker(job, 0, phase="Succeeded", state=ended(0)))
    at_work = parse_pod(worker(job, 1))
    assert not have_ended([done], 2)
    assert not have_ended([done, at_work], 2)
    assert have_ended([done, parse_pod(worker(job, 1, phase="Succeeded", state=ended(0)))], 2)
    assert have_ended([at_work, parse_pod(worker(job, 0, phase="Failed", state=ended(65)))], 2)


def test_the_phase_is_running_while_another_pod_waits() -> None:
    obj = searching()
    job = job_of_search(obj)
    pods = [worker(job, 0), worker(job, 1, phase="Pending", state={}, node=None)]
    seen = observed(obj, jobs=[job], pods=pods)
    status = compute(seen, decide(seen))
    assert status.phase == "Running"
    assert reasons(status)["Scheduled"] == "True Scheduled"


FIRST, SECOND = Speaker("uid-0", index=0), Speaker("uid-1", index=1)


def told(reports: Reports) -> SearchStatus:
    received = reports.get(FINE_TUNE_JOBS, KEY)
    assert received is not None
    assert received.report.search is not None
    return received.report.search


def test_the_last_word_on_the_trials_is_any_pods() -> None:
    reports = Reports()
    reports.put(report(1, pod="pod-0", search=counts(1)), NOW, FIRST)
    assert reports.put(report(1, pod="pod-1", search=counts(2)), NOW, SECOND) is News.FACTS
    assert told(reports).complete == 2
    assert reports.put(report(2, pod="pod-1", search=counts(2)), NOW, SECOND) is News.PROGRESS
    # The first pod's own word may be older; its progress counts.
    assert reports.put(report(2, pod="pod-0", search=counts(1)), NOW, FIRST) is News.PROGRESS
    assert told(reports).complete == 2
    received = reports.get(FINE_TUNE_JOBS, KEY)
    assert received is not None
    assert received.report.pod == "pod-0"


def test_where_the_first_pod_has_ended_another_one_stands_in() -> None:
    reports = Reports()
    assert reports.put(report(1, pod="pod-1", search=counts(3)), NOW, SECOND) is News.FACTS
    assert told(reports).complete == 3
    assert reports.put(report(1, pod="pod-0", search=counts(4)), NOW, FIRST) is News.FACTS
    assert told(reports).complete == 4


def test_a_trials_course_is_progress_and_its_end_is_news() -> None:
    obj = searching()
    revision, job = revision_of(obj), job_of_search(obj)

    def essence(**search: Any) -> object:
        pod = worker(job, 0)
        said = report(1, pod="pod-0", revision=revision.name, search=search)
        seen = observed(obj, jobs=[job], pods=[pod], report=said)
        return FINE_TUNE_JOB.essence(compute(seen, decide(seen)))

    running = {"number": 1, "state": "Running", "step": 1}
    before = essence(**counts(1, running=1, table=[running]))
    assert before == essence(**counts(1, running=1, table=[running | {"step": 9}]))
    assert before != essence(**counts(2, running=0, table=[running | {"state": "Complete"}]))


def test_a_result_without_a_table_leaves_the_one_that_was_reported() -> None:
    obj = searching()
    revision, job = revision_of(obj), job_of_search(obj, end="Complete")
    trial = {"number": 0, "state": "Complete", "value": 0.5, "settings": {"lora.rank": "8"}}
    artifact = {"uri": f"{OWN}/{revision.name}", "manifestSha256": "0" * 64}
    said = report(
        1, pod="pod-0", revision=revision.name, search=counts(3, table=[trial], best=trial)
    )
    pods = [
        worker(
            job,
            0,
            phase="Succeeded",
            state=ended(0, result(revision, artifact=artifact, search=counts(4))),
        )
    ]
    seen = observed(obj, jobs=[job], pods=pods, report=said)
    search = compute(seen, decide(seen)).search
    assert search is not None
    assert search.complete == 4
    assert [it.number for it in search.table] == [0]
    assert search.best is not None
    # And after a restart of the operator it is the status that tells.
    again = obj | {"status": {"revision": revision.name, "search": search.to_json()}}
    seen = observed(again, jobs=[job], pods=[])
    assert compute(seen, decide(seen)).search == search


def test_the_trials_are_series_of_the_run() -> None:
    store = Store()
    best = {"number": 2, "state": "Complete", "value": 0.25}
    status = {"phase": "Complete", "search": counts(3, failed=1, best=best)}
    store.put(FINE_TUNE_JOBS, resource(status=status))
    lines = "\n".join(scrape(store, Reports(), NOW))
    labels = '{kind="FineTuneJob",name="tone",namespace="team",pool="cpu"}'
    assert f"luthier_run_trials{labels} 4.0" in lines
    assert f"luthier_run_trials_complete{labels} 3.0" in lines
    assert f"luthier_run_trials_failed{labels} 1.0" in lines
    assert f"luthier_run_trials_best{labels} 0.25" in lines


def test_a_trainers_word_on_trials_has_bounds() -> None:
    """What no report may say is refused at its entry, and costs nobody else."""
    with pytest.raises(ValueError, match="at most 100"):
        report(1, search=counts(1, table=[{"number": n, "state": "Failed"} for n in range(101)]))
