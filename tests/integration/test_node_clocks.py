"""A node whose clock is a day off, under a trainer: nothing is off but what that node says."""

from datetime import UTC, datetime, timedelta

import pytest
from integration.kube import Kube, eventually, now
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.test_progress import post, report, token
from integration.user import User, published

# What a busy machine may add to a step of a test.
SLACK = timedelta(seconds=60)


def is_near(time: str, expected: timedelta = timedelta()) -> bool:
    """Whether a time of a status is so far from now."""
    return abs(datetime.fromisoformat(time) - datetime.now(UTC) - expected) < SLACK


@pytest.mark.parametrize("off", [timedelta(days=-1), timedelta(days=1)], ids=["behind", "ahead"])
def test_a_run_goes_its_way_and_its_times_are_right(
    operator: OperatorProcess, user: User, kube: Kube, namespace: str, off: timedelta
) -> None:
    kubelet = Kubelet(kube, namespace, off)
    user.create("late", limits={"activeDeadlineSeconds": 5})
    user.create(limits={"activeDeadlineSeconds": 3600})
    late = user.job("late")["metadata"]["name"]
    kubelet.run(late)
    job = user.job()["metadata"]["name"]
    pod = kubelet.run(job)
    assert is_near(user.phase("Running")["startTime"])

    def told(step: int) -> dict[str, object]:
        times = {"updated": now(off), "estimatedFinish": now(off + timedelta(hours=2))}
        return {"step": step, "totalSteps": 100, **times}

    def shown(step: int) -> dict[str, str]:
        progress: dict[str, str] = eventually(lambda: user.status()["progress"])
        assert progress["step"] == step
        return progress

    two_hours = {"etaSeconds": 7200}
    assert (
        post(operator, token(kube, pod), report(user, pod, progress=told(40), **two_hours)) == 204
    )
    progress = eventually(lambda: shown(40))
    assert is_near(progress["updated"])
    assert is_near(progress["estimatedFinish"], timedelta(hours=2))
    series = f'{{kind="FineTuneJob",name="tone",namespace="{namespace}",pool="cpu"}}'
    assert 7100 < operator.metrics()[f"luthier_run_eta_seconds{series}"] <= 7200

    # The pod that follows an interrupted one is the newer one, whatever their times say.
    kubelet.end(pod, 75)
    if off > timedelta():
        # Until a time by that clock Kubernetes starts no other: told, with the remedy.
        remedy = f"kubectl delete job {job} -n {namespace}"
        assert remedy in user.sees("Scheduled", "False", "NodeClockAhead")["message"]
        kube.delete("jobs", namespace, job, propagationPolicy="Background")
    second = kubelet.run(job)
    user.phase("Running")
    assert post(operator, token(kube, second), report(user, second, progress=told(41))) == 204
    eventually(lambda: shown(41))
    end = published(user.status(), user) | {"progress": told(100)}
    kubelet.end(second, 0, end)
    status = user.phase("Complete")
    assert is_near(status["startTime"])
    assert status["startTime"] <= status["completionTime"]
    assert is_near(status["progress"]["updated"])
    assert "estimatedFinish" not in status["progress"]
    assert status["usage"]["cpuSeconds"] == 10
    # The deadline is the control plane's to keep.
    eventually(lambda: any("deletionTimestamp" in it["metadata"] for it in kubelet.pods(late)))
    kubelet.finish_deletions(late)
    user.sees("Failed", "True", "DeadlineExceeded", "late")
