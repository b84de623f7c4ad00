"""A node that is lost under a run: nobody ends its pod, and no other may take its place before."""

from collections.abc import Iterator

import pytest
from integration.kube import Kube, eventually
from integration.kubelet import Kubelet, join
from integration.operatorprocess import OperatorProcess
from integration.user import User, published

from luthier_operator.run.scheduling import TERMINATING_PATIENCE_SECONDS

# The pool `tight` wants it.
LABELS = {"disk": "none-such"}


@pytest.fixture
def nodes(kube: Kube, namespace: str) -> Iterator[tuple[str, str]]:
    """Names of two, the first of which has joined and says nothing more."""
    names = f"{namespace}-lost", f"{namespace}-other"
    join(kube, names[0], LABELS)
    yield names
    for node in kube.list("nodes", None):
        if node["metadata"]["name"] in names:
            kube.delete("nodes", None, node["metadata"]["name"])


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_run_waits_says_why_and_goes_on_elsewhere(
    operator: OperatorProcess, user: User, kube: Kube, kubelet: Kubelet, nodes: tuple[str, str]
) -> None:
    lost, other = nodes
    user.create(placement={"pool": "tight"})
    job = user.job()["metadata"]["name"]
    pod = kubelet.run(job)
    user.phase("Running")
    # As who evicts it, or a user; the node doesn't hear of it.
    name = pod["metadata"]["name"]
    kube.delete("pods", user.namespace, name)

    def told() -> str:
        condition = user.condition("Scheduled")
        assert condition["reason"] == "PodTerminating", condition
        return str(condition["message"])

    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert lost in eventually(told, grace + TERMINATING_PATIENCE_SECONDS + 30)
    assert len(kubelet.pods(job)) == 1
    # The remedy for one that is off for good: Kubernetes then forgets its pods.
    kube.delete("nodes", None, lost)
    eventually(lambda: name not in [it["metadata"]["name"] for it in kubelet.pods(job)], 180)
    # Not before: it says once that it is well, which counts for less than a minute.
    join(kube, other, LABELS)
    again = kubelet.run(job)
    assert again["spec"]["nodeName"] == other
    kubelet.end(again, 0, published(user.phase("Running"), user))
    user.phase("Complete")
    assert [it["metadata"]["name"] for it in user.jobs()] == [job]
