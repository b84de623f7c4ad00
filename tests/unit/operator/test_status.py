"""Status from what is there."""

import json
from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    ended,
    job_of,
    observed,
    pod_of,
    resource,
    spec,
)

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.progress import ProgressReport
from luthier_api.result import TERMINAL_EXIT_CODES
from luthier_api.revision import revision_name, shape_hash
from luthier_api.runstatus import Restarts
from luthier_operator.conditions import Conditions, find
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.events import EVENTS
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.finetunejob.status import compute
from luthier_operator.patches import merge_diff
from luthier_operator.run.events import transitions
from luthier_operator.run.model import Revision

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)


def status(seen: Observed) -> FineTuneJobStatus:
    return compute(seen, decide(seen))


def reason(of: FineTuneJobStatus, kind: str) -> str:
    condition = find(of.conditions, kind)
    return f"{condition.status} {condition.reason}" if condition else "absent"


def result(**fields: Any) -> str:
    own = {"revision": FIRST.name, "attempt": 1, "outcome": "Succeeded"}
    return json.dumps(own | fields)


ARTIFACT = {
    "uri": f"s3://artifacts/models/team/tone/{FIRST.name}",
    "manifestSha256": "0" * 64,
}


def finished(code: int, message: str = "", *, end: str = "Failed", why: str = "") -> Observed:
    job = job_of(FIRST, end=end, reason=why or "PodFailurePolicy")
    phase = "Succeeded" if code == 0 else "Failed"
    return observed(jobs=[job], pods=[pod_of(job, phase=phase, state=ended(code, message))])


def test_complete() -> None:
    done = status(finished(0, result(artifact=ARTIFACT, datasetValid=True), end="Complete"))
    assert done.phase == "Complete"
    assert done.artifact is not None
    assert reason(done, "Ready") == "True Published"
    assert reason(done, "Stalled") == "False Completed"
    assert reason(done, "DatasetValid") == "True Valid"
    assert reason(done, "Failed") == "absent"


def test_complete_without_a_result_tells_the_remedy() -> None:
    lost = status(observed(jobs=[job_of(FIRST, end="Complete")]))
    assert lost.phase == "Failed"
    assert reason(lost, "Failed") == "True ResultLost"


@pytest.mark.parametrize("code", [it for it in TERMINAL_EXIT_CODES if it != 76])
def test_a_terminal_exit_shows_the_trainers_error(code: int) -> None:
    error = {"code": "SomethingWrong", "message": "words", "param": "dataset.uri"}
    failed = status(finished(code, result(outcome="Failed", error=error)))
    assert failed.phase == "Failed"
    for kind in ("Failed", "Stalled"):
        assert reason(failed, kind) == "True SomethingWrong"
    condition = find(failed.conditions, "Failed")
    assert condition is not None
    assert condition.message == "dataset.uri: words"
    assert reason(failed, "DatasetValid") == ("False SomethingWrong" if code == 65 else "absent")


def test_a_reason_that_is_none_becomes_one() -> None:
    error = {"code": "not a reason!", "message": "words"}
    failed = status(finished(65, result(outcome="Failed", error=error)))
    assert reason(failed, "Failed") == "True TrainerFailed"
    assert reason(failed, "DatasetValid") == "False Invalid"


def test_log_text_instead_of_a_result_stays_out() -> None:
    failed = status(finished(1, "Traceback: secret", why="BackoffLimitExceeded"))
    assert reason(failed, "Failed") == "True TooManyRestarts"
    assert "secret" not in json.dumps(failed.to_json())


def test_a_result_of_another_attempt_is_not_ours() -> None:
    other = json.dumps(
        {"revision": FIRST.name, "attempt": 2, "outcome": "Succeeded"} | {"artifact": ARTIFACT}
    )
    assert status(finished(0, other, end="Complete")).artifact is None


@pytest.mark.parametrize("last", [137, 76])
def test_out_of_memory(last: int) -> None:
    job = job_of(FIRST, end="Failed", reason="PodFailurePolicy")
    pods = [
        pod_of(job, "a", phase="Failed", state=ended(137, reason="OOMKilled")),
        pod_of(
            job,
            "b",
            phase="Failed",
            state=ended(last, reason="OOMKilled" if last == 137 else "Error"),
            created="2026-01-02T03:05:00Z",
        ),
    ]
    failed = status(observed(jobs=[job], pods=pods))
    assert reason(failed, "Failed") == "True OutOfMemory"


def report(step: int, pod: str = "pod-1", **fields: Any) -> ProgressReport:
    run = {
        "namespace": "team",
        "name": "tone",
        "uid": observed().owner.uid,
        "revision": FIRST.name,
        "attempt": 1,
    }
    return ProgressReport.model_validate(
        {
            "run": run,
            "pod": pod,
            "sequence": step,
            "progress": {"step": step, "totalSteps": 200, "loss": 0.123456789},
            **fields,
        }
    )


def test_progress_comes_from_the_report_and_outlives_it() -> None:
    job = job_of(FIRST)
    seen = observed(jobs=[job], pods=[pod_of(job)], report=report(50, datasetValid=True))
    running = status(seen)
    assert running.phase == "Running"
    assert running.progress is not None
    assert running.progress.percent == "25%"
    assert running.progress.loss == 0.1235
    # The operator was restarted: no report, but a status.
    again = status(observed(resource(status=running.to_json()), jobs=[job], pods=[pod_of(job)]))
    assert again == running


def test_a_dead_pods_report_gives_way_to_its_result() -> None:
    job = job_of(FIRST)
    dead = pod_of(
        job, phase="Failed", state=ended(75, result(outcome="Interrupted", progress={"step": 60}))
    )
    seen = observed(jobs=[job], pods=[dead], report=report(50))
    restarting = status(seen)
    assert restarting.phase == "Restarting"
    assert restarting.progress is not None
    assert restarting.progress.step == 60
    assert restarting.progress.eta is None


def test_the_same_state_is_written_once() -> None:
    job = job_of(FIRST)
    once = status(observed(jobs=[job], pods=[pod_of(job)])).to_json()
    twice = status(observed(resource(status=once), jobs=[job], pods=[pod_of(job)])).to_json()
    assert merge_diff(once, twice) == {}


def test_transition_times_move_with_the_status_only() -> None:
    job = job_of(FIRST)
    once = status(observed(jobs=[job]))
    later = NOW.replace(hour=9)
    twice = status(
        observed(resource(status=once.to_json()), jobs=[job], pods=[pod_of(job)], now=later)
    )
    before, after = find(once.conditions, "Ready"), find(twice.conditions, "Ready")
    assert before is not None
    assert after is not None
    assert before.last_transition_time == after.last_transition_time
    running = find(twice.conditions, "Running")
    assert running is not None
    assert running.last_transition_time.startswith("2026-01-02T09")


def test_a_refused_job_is_told_and_named_nowhere() -> None:
    seen = observed()
    refused = compute(seen, decide(seen), Refusal("QuotaExceeded", "exceeded quota"))
    assert reason(refused, "Scheduled") == "False QuotaExceeded"
    assert refused.job_name is None
    assert refused.phase == "Pending"


def test_a_queued_runs_suspension_is_told_when_its_pod_has_stopped() -> None:
    job = job_of(FIRST)
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team"
    seen = observed(resource(suspend=True), jobs=[job], pods=[pod_of(job)])
    assert reason(status(seen), "Suspended") == "False Suspending"
    job["spec"]["suspend"] = True
    assert reason(status(observed(resource(suspend=True), jobs=[job])), "Suspended") == (
        "True Suspended"
    )


def test_the_history_is_bounded_and_newest_first() -> None:
    history = [{"revision": f"r{n}-x", "outcome": "Complete"} for n in range(20, 10, -1)]
    before = {
        "observedGeneration": 1,
        "revision": "r21-x",
        "attempt": 3,
        "history": history,
        "evaluation": {"tuned": {"accuracy": 0.9}},
        "checkpoints": [{"step": 1, "uri": "s3://a/1", "sha256": "0"}],
    }
    after = status(observed(resource(generation=2, status=before)))
    assert [record.revision for record in after.history[:2]] == ["r21-x", "r20-x"]
    assert len(after.history) == 10
    assert after.history[0].outcome == "Superseded"
    assert after.evaluation is None
    assert after.checkpoints == []


def test_a_status_field_of_another_version_costs_only_itself() -> None:
    odd = {"revision": FIRST.name, "attempt": 1, "restarts": {"unknown": 1}, "novel": True}
    seen = observed(resource(status=odd | {"conditions": []}))
    assert seen.previous.revision == FIRST.name


def test_events_tell_each_transition_once() -> None:
    job = job_of(FIRST)
    none = FineTuneJobStatus()
    pending = status(observed(jobs=[job]))
    running = status(observed(jobs=[job], pods=[pod_of(job)]))
    assert [note.reason for note in transitions(none, pending, EVENTS)] == ["Created"]
    assert [note.reason for note in transitions(pending, running, EVENTS)] == ["Started"]
    assert transitions(running, running, EVENTS) == []
    disrupted = running.model_copy(update={"restarts": Restarts(disruptions=1)})
    assert [note.reason for note in transitions(running, disrupted, EVENTS)] == ["Interrupted"]


FACTS: dict[str, Any] = {
    "dataset": {"train": 90, "eval": 10, "duplicates": 3, "tokensP95": 40},
    "estimate": {"memoryBytes": 10**9, "durationSeconds": 60},
    "resolved": {"training.precision": "bf16"},
    "overfitting": "eval loss rose from 0.5 to 0.9 while the training loss fell",
    "inexactResume": "another number of GPUs",
}


def test_what_the_trainer_noticed_outlives_its_report() -> None:
    job = job_of(FIRST)
    seen = observed(jobs=[job], pods=[pod_of(job)], report=report(50, **FACTS))
    running = status(seen)
    document = running.to_json()
    for name in ("dataset", "estimate", "resolved"):
        assert document[name].items() >= FACTS[name].items()
    assert reason(running, "Overfitting") == "True LearnsByHeart"
    assert reason(running, "ResumeExact") == "False NotReproducible"
    again = status(observed(resource(status=document), jobs=[job], pods=[pod_of(job)]))
    assert again == running
    assert [
        note.reason for note in transitions(FineTuneJobStatus(), running, EVENTS) if note.warning
    ] == ["Overfitting"]


def test_a_warning_goes_when_it_is_not_repeated_and_a_fact_stays() -> None:
    job = job_of(FIRST)
    warned = status(observed(jobs=[job], pods=[pod_of(job)], report=report(50, **FACTS)))
    later = status(
        observed(
            resource(status=warned.to_json()), jobs=[job], pods=[pod_of(job)], report=report(60)
        )
    )
    assert reason(later, "Overfitting") == "absent"
    assert reason(later, "ResumeExact") == "False NotReproducible"
    assert later.dataset == warned.dataset
    assert later.resolved == warned.resolved


def test_a_result_tells_the_same_and_the_change() -> None:
    change = {"accuracy": {"by": 0.4, "low": 0.3, "high": 0.5}}
    evaluation = {"base": {"accuracy": 0.4}, "tuned": {"accuracy": 0.8}, "change": change}
    message = result(artifact=ARTIFACT, evaluation=evaluation, **FACTS)
    done = status(finished(0, message, end="Complete"))
    assert done.to_json()["evaluation"]["change"] == change
    assert reason(done, "Overfitting") == "True LearnsByHeart"
    # On record: the Job and its pod may go.
    kept = status(observed(resource(status=done.to_json())))
    assert kept == done


def test_more_than_a_status_holds_is_cut() -> None:
    job = job_of(FIRST)
    long = {f"option{i:02}": "x" * (1024 + i) for i in range(40)}
    seen = observed(jobs=[job], pods=[pod_of(job)], report=report(1, resolved=long))
    resolved = status(seen).resolved
    assert len(resolved) == 32
    assert resolved["option00"] == 1024 * "x"
    assert resolved["option01"] == 1023 * "x" + "…"


def test_a_long_message_says_that_it_is_cut() -> None:
    conditions = Conditions([], 1, NOW)
    for kind, length in (("Whole", 4096), ("Cut", 4097)):
        conditions.set(kind, True, "Told", length * "x")
    whole, cut = conditions.list()
    assert whole.message == 4096 * "x"
    assert cut.message == 4095 * "x" + "…"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            'MountVolume.SetUp failed for volume "config-map-0" : configmap "code" not found',
            "ConfigMapNotFound",
        ),
        (
            'MountVolume.SetUp failed for volume "x" : references non-existent config key: loss.py',
            "ConfigMapKeyNotFound",
        ),
        ("timed out waiting for the condition", "VolumeMountFailed"),
    ],
)
def test_a_volume_that_is_not_there(words: str, why: str) -> None:
    job = job_of(FIRST)
    pod = pod_of(job, phase="Pending", state={"waiting": {"reason": "ContainerCreating"}})
    held = status(observed(jobs=[job], pods=[pod], notes=(f"FailedMount: {words}",)))
    assert reason(held, "Scheduled") == f"False {why}"
    condition = find(held.conditions, "Scheduled")
    assert condition is not None
    assert condition.message.startswith(words)


def test_a_claim_that_is_not_there() -> None:
    job = job_of(FIRST)
    pod = pod_of(job, phase="Pending", state={}, node=None)
    pod["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "message": '0/1 nodes are available: persistentvolumeclaim "models" not found.',
        }
    ]
    held = status(observed(jobs=[job], pods=[pod]))
    assert reason(held, "Scheduled") == "False ClaimNotFound"
