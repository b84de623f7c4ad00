"""What a user changes while a run goes on, and after it."""

from integration.kube import eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User, published, result


def test_a_change_that_shapes_the_result_opens_a_revision(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    first = user.job()["metadata"]["name"]
    kubelet.run(first)
    before = user.phase("Running")
    assert before["revision"].startswith("r1-")

    user.change(training={"maxSteps": 200})
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(first)))
    waiting = user.sees("Scheduled", "False", "Stopping")
    assert "to stop" in waiting["message"]
    assert [job["metadata"]["name"] for job in user.jobs()] == [first]  # never two at once
    kubelet.finish_deletions(first)
    second = user.job(besides=first)["metadata"]["name"]
    eventually(lambda: [job["metadata"]["name"] for job in user.jobs()] == [second])
    after = user.status()
    assert after["revision"].startswith("r2-")
    assert after["attempt"] == 1
    assert after["observedGeneration"] == 2
    assert after["history"][0]["revision"] == before["revision"]
    assert after["history"][0]["outcome"] == "Superseded"
    assert "Superseded" in eventually(lambda: user.events())


def test_a_change_that_does_not_shape_it_leaves_the_run_alone(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    pod = kubelet.run(name)
    before = user.phase("Running")
    user.change(limits={"ttlSecondsAfterFinished": 3600}, evaluation={"maxSamples": 1000})
    eventually(lambda: user.status()["observedGeneration"] == 2)
    assert user.status()["revision"] == before["revision"]
    assert kubelet.alive(name)["metadata"]["uid"] == pod["metadata"]["uid"]

    kubelet.end(pod, 0, published(before, user))
    user.phase("Complete")
    # On a finished run it moves the TTL, and nothing else.
    user.change(limits={"ttlSecondsAfterFinished": 7200})
    eventually(lambda: user.job()["spec"].get("ttlSecondsAfterFinished") == 7200)
    eventually(lambda: user.condition("Complete")["observedGeneration"] == 3)
    assert len(user.jobs()) == 1


def test_suspend_and_resume(operator: OperatorProcess, user: User, kubelet: Kubelet) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    kubelet.run(name)
    user.phase("Running")
    user.change(suspend=True)
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(name)))
    user.sees("Suspended", "False", "Suspending")
    kubelet.finish_deletions(name)
    user.sees("Suspended", "True")
    assert user.phase("Suspended")["jobName"] == name
    user.change(suspend=False)
    user.sees("Suspended", "False", "Resumed")
    pod = kubelet.run(name)
    kubelet.end(pod, 0, published(user.phase("Running"), user))
    user.phase("Complete")
    eventually(lambda: {"Suspended", "Resumed", "Completed"} <= set(user.events()))


def test_created_suspended_there_is_no_job(operator: OperatorProcess, user: User) -> None:
    user.create(suspend=True)
    user.sees("Suspended", "True")
    assert not user.jobs()
    user.change(suspend=False)
    user.job()


def test_a_queued_run_waits_for_kueue(operator: OperatorProcess, user: User) -> None:
    user.create(placement={"queueName": "team"})
    job = user.job()
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["spec"]["suspend"] is True
    user.phase("Queued")
    # Nobody has installed Kueue here, which is found out and told.
    assert "queue team" in user.sees("Scheduled", "False", "KueueNotInstalled")["message"]


def test_a_failed_run_stays_failed_until_it_is_retried(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    first = user.job()["metadata"]["name"]
    pod = kubelet.run(first)
    error = {"code": "BucketNotFound", "message": "there is no bucket data"}
    status = user.phase("Running")
    kubelet.end(pod, 66, result(status, outcome="Failed", error=error))
    user.sees("Failed", "True", "BucketNotFound")

    user.annotate(retry="now")
    second = user.job(besides=first)["metadata"]["name"]
    retried = eventually(lambda: user.status() if user.status()["attempt"] == 2 else None)
    assert retried["revision"] == status["revision"]
    assert retried["retryToken"] == "now"
    assert "Failed" not in {it["type"] for it in retried["conditions"]}
    pod = kubelet.run(second)
    kubelet.end(pod, 0, published(user.phase("Running"), user))
    user.phase("Complete")
    user.annotate(retry="again")
    eventually(lambda: user.status()["retryToken"] == "again")
    assert user.status()["attempt"] == 2


def test_a_failed_run_is_tried_again_with_a_changed_spec(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(limits={"maxRestarts": 0})
    first = user.job()["metadata"]["name"]
    kubelet.end(kubelet.run(first), 1)
    user.sees("Failed", "True", "TooManyRestarts")
    user.change(limits={"maxRestarts": 3})
    assert user.job(besides=first)["spec"]["backoffLimit"] == 3
    assert eventually(lambda: user.status()["attempt"] == 2)


def test_deleting_a_running_resource_ends_its_pods(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    kubelet.run(name)
    user.phase("Running")
    user.kube.delete("finetunejobs", user.namespace, "tone")
    # The garbage collector of a cluster this young learns of a new kind within half a minute.
    eventually(lambda: all("deletionTimestamp" in p["metadata"] for p in kubelet.pods(name)), 60)
    kubelet.finish_deletions(name)
    eventually(lambda: not user.jobs())
    samples = operator.metrics()
    assert not [line for line in samples if f'namespace="{user.namespace}"' in line]


def test_a_recreated_name_gets_a_job_of_its_own(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    first = user.job()["metadata"]["name"]
    kubelet.end(kubelet.run(first), 0, published(user.phase("Running"), user))
    user.phase("Complete")
    user.kube.delete("finetunejobs", user.namespace, "tone")
    created = user.create()
    second = user.job(besides=first)
    assert second["metadata"]["ownerReferences"][0]["uid"] == created["metadata"]["uid"]
    assert "artifact" not in user.phase("Pending")


def test_a_deleted_job_is_created_anew_when_its_pod_is_gone(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    job = user.job()
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    kubelet.run(name)
    user.phase("Running")
    user.kube.delete("jobs", user.namespace, name, propagationPolicy="Background")
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(name)))
    assert not [job for job in user.jobs() if job["metadata"]["uid"] != uid]
    kubelet.finish_deletions(name)
    again = eventually(
        lambda: [job for job in user.jobs() if job["metadata"]["uid"] != uid] or None
    )
    assert [job["metadata"]["name"] for job in again] == [name]
