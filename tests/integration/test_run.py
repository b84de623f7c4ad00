"""A run from apply to the published result, as its user sees it."""

import json

from integration.kube import eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User, published, result


def test_a_run_completes(operator: OperatorProcess, user: User, kubelet: Kubelet) -> None:
    created = user.create()
    job = user.job()
    name, uid = job["metadata"]["name"], created["metadata"]["uid"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == uid
    user.phase("Pending")

    pod = kubelet.run(name)
    user.phase("Running")
    user.sees("Running", "True", "TrainerRunning")
    user.sees("Scheduled", "True", "Scheduled")
    order = json.loads(pod["metadata"]["annotations"]["luthier.dev/runspec"])
    assert order["run"]["uid"] == uid
    assert order["progress"]["url"] == operator.progress_url

    status = user.status()
    kubelet.end(pod, 0, published(status, user))
    user.sees("Complete", "True", "Completed")
    user.sees("Ready", "True", "Published")
    user.sees("Stalled", "False")
    user.sees("DatasetValid", "True", "Valid")
    user.sees("Evaluated", "True")
    done = user.status()
    assert done["phase"] == "Complete"
    assert done["observedGeneration"] == 1
    assert done["artifact"]["uri"].endswith(status["revision"])
    assert done["progress"]["percent"] == "100%"
    assert done["checkpoints"][0]["step"] == 100
    assert done["evaluation"]["tuned"] == {"loss": 1}
    assert done["completionTime"]
    events = eventually(lambda: user.events() if "Completed" in user.events() else None)
    assert events == ["Created", "Started", "CheckpointSaved", "Completed"]


def test_a_users_error_fails_at_once(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    pod = kubelet.run(name)
    status = user.phase("Running")
    error = {
        "code": "UnknownTemplateField",
        "message": "data/a.jsonl has no column txt; it has: text, label.",
        "param": "dataset.template",
    }
    kubelet.end(pod, 65, result(status, outcome="Failed", datasetValid=False, error=error))
    failed = user.sees("Failed", "True", "UnknownTemplateField")
    assert "dataset.template" in failed["message"]
    assert "has no column txt" in failed["message"]
    user.sees("DatasetValid", "False", "UnknownTemplateField")
    user.sees("Stalled", "True", "UnknownTemplateField")
    assert len(kubelet.pods(name)) == 1


def test_out_of_memory_twice_names_the_lever(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    for _ in range(2):
        kubelet.end(kubelet.run(name), 137, reason="OOMKilled")
        eventually(lambda: kubelet.alive(name), 30)
    status = user.status()
    error = {"code": "NoProgress", "message": "two pods died at step 0"}
    kubelet.end(kubelet.run(name), 76, result(status, outcome="Failed", error=error))
    failed = user.sees("Failed", "True", "OutOfMemory")
    assert "training.perDeviceBatchSize" in failed["message"]


def test_no_progress_without_out_of_memory(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    kubelet.end(kubelet.run(name), 1)
    error = {"code": "NoProgress", "message": "two pods died at step 0"}
    pod = kubelet.run(name)
    kubelet.end(pod, 76, result(user.status(), outcome="Failed", error=error))
    assert "two pods died" in user.sees("Failed", "True", "NoProgress")["message"]


def test_too_many_restarts(operator: OperatorProcess, user: User, kubelet: Kubelet) -> None:
    user.create(limits={"maxRestarts": 0})
    name = user.job()["metadata"]["name"]
    kubelet.end(kubelet.run(name), 1)
    failed = user.sees("Failed", "True", "TooManyRestarts")
    assert "limits.maxRestarts is 0" in failed["message"]


def test_an_interrupted_pod_is_replaced_and_does_not_count(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(limits={"maxRestarts": 0})
    name = user.job()["metadata"]["name"]
    kubelet.end(kubelet.run(name), 75)
    user.phase("Restarting")
    pod = kubelet.run(name)
    status = user.phase("Running")
    kubelet.end(pod, 0, published(status, user))
    user.phase("Complete")


def test_deadline(operator: OperatorProcess, user: User, kubelet: Kubelet) -> None:
    user.create(limits={"activeDeadlineSeconds": 8})
    name = user.job()["metadata"]["name"]
    kubelet.run(name)
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(name)))
    kubelet.finish_deletions(name)
    failed = user.sees("Failed", "True", "DeadlineExceeded")
    assert "limits.activeDeadlineSeconds (8)" in failed["message"]


def test_ttl_takes_the_job_and_leaves_the_status(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(limits={"ttlSecondsAfterFinished": 1})
    name = user.job()["metadata"]["name"]
    assert "ttlSecondsAfterFinished" not in user.job()["spec"]
    pod = kubelet.run(name)
    kubelet.end(pod, 0, published(user.phase("Running"), user))
    user.phase("Complete")
    eventually(lambda: not user.jobs(), 30)
    before = user.status()
    user.annotate(retry="once")  # a no-op for a run that is complete
    eventually(lambda: user.status().get("retryToken") == "once")
    assert user.status() == before | {"retryToken": "once"}
    assert not user.jobs()


def test_a_run_costs_few_writes(operator: OperatorProcess, user: User, kubelet: Kubelet) -> None:
    def writes() -> float:
        series = operator.metrics().items()
        return sum(n for name, n in series if name.startswith("luthier_operator_api_writes_total"))

    before = writes()
    user.create()
    pod = kubelet.run(user.job()["metadata"]["name"])
    kubelet.end(pod, 0, published(user.phase("Running"), user))
    user.phase("Complete")
    eventually(lambda: "Completed" in user.events())
    # The Job; Pending, Scheduled, Running, Complete; four Events.
    assert writes() - before <= 9
