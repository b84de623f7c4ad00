"""What luthier.yaml forces, on a real API server."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.kube import Kube, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import CONFIG, OperatorProcess
from integration.user import OPTIMIZE_JOB, User, published

from luthier_cluster import Cluster

Forced = Callable[..., AbstractContextManager[OperatorProcess]]


@pytest.fixture
def forced(
    control_plane: Cluster, namespace: str, shared_operator: OperatorProcess, tmp_path: Path
) -> Forced:
    """An operator of this namespace alone, whose luthier.yaml says so much of it."""
    if shared_operator.running:
        shared_operator.kill(signal.SIGTERM)

    def start(**fields: Any) -> OperatorProcess:
        config = CONFIG + yaml.safe_dump({"namespaces": {namespace: fields}})
        return OperatorProcess(
            control_plane.kubeconfig, tmp_path, namespaces=namespace, config=config
        )

    return start


def live(kube: Kube, namespace: str) -> list[str]:
    """The resources whose Jobs haven't ended."""
    return [
        job["metadata"]["labels"]["luthier.dev/name"]
        for job in kube.list("jobs", namespace)
        if not job.get("status", {}).get("completionTime")
    ]


def finish(user: User, kubelet: Kubelet, name: str) -> None:
    """Let a run end well."""
    pod = kubelet.run(user.job(name)["metadata"]["name"])
    kubelet.end(pod, 0, published(user.phase("Running", name), user, name))
    user.phase("Complete", name)


def test_the_rest_waits_the_oldest_first_whatever_happens_to_the_operator(
    kube: Kube, namespace: str, user: User, kubelet: Kubelet, forced: Forced
) -> None:
    optimizer = User(kube, namespace, OPTIMIZE_JOB)
    with forced(maxRuns=1) as operator:
        user.create("first")
        user.job("first")
        user.create("second")
        user.sees("Scheduled", "False", "TooManyRuns", "second")
        optimizer.create("third", source={"modelUri": "s3://models/smollm2"})
        told = optimizer.sees("Scheduled", "False", "TooManyRuns", "third")["message"]
        assert "may have 1 runs at once" in told
        assert "number 2 in line" in told
        # The line is the same after a crash.
        operator.kill(signal.SIGKILL)
        operator.start()
        finish(user, kubelet, "first")
        user.job("second")
        assert live(kube, namespace) == ["second"]
        # Suspended it gives its place away, and gets one again when there is one.
        user.change("second", suspend=True)
        optimizer.job("third")
        kubelet.finish_deletions(user.job("second")["metadata"]["name"])
        user.sees("Suspended", "True", name="second")
        user.change("second", suspend=False)
        user.sees("Scheduled", "False", "TooManyRuns", "second")
        assert user.job("second")["spec"]["suspend"] is True
        kube.delete(OPTIMIZE_JOB.plural, namespace, "third")
        # The garbage collector of a new control plane learns of new kinds every 30 s.
        eventually(lambda: user.job("second")["spec"]["suspend"] is False, 90)


def test_many_at_once_never_have_more_places_than_there_are(
    kube: Kube, namespace: str, user: User, kubelet: Kubelet, forced: Forced
) -> None:
    with forced(maxRuns=3):
        names = [f"n{number:02}" for number in range(12)]
        for name in names:
            user.create(name)
        for done in range(len(names)):
            expected = names[done : done + 3]
            eventually(lambda expected=expected: sorted(live(kube, namespace)) == expected)
            if len(names) - done <= 3:
                break
            finish(user, kubelet, names[done])


def test_a_pool_has_places_of_its_own(
    control_plane: Cluster,
    kube: Kube,
    user: User,
    kubelet: Kubelet,
    namespace: str,
    shared_operator: OperatorProcess,
    tmp_path: Path,
) -> None:
    if shared_operator.running:
        shared_operator.kill(signal.SIGTERM)
    config = yaml.safe_load(CONFIG)
    config["pools"][0]["maxRuns"] = 1
    config["pools"].append(config["pools"][0] | {"name": "wide", "maxRuns": 2})
    with OperatorProcess(
        control_plane.kubeconfig, tmp_path, namespaces=namespace, config=yaml.safe_dump(config)
    ) as operator:
        user.create("first")
        user.job("first")
        for name in ("second", "third"):
            user.create(name)
            user.sees("Scheduled", "False", "PoolFull", name)
        user.create("elsewhere", placement={"pool": "wide"})
        user.job("elsewhere")
        operator.kill(signal.SIGKILL)
        operator.start()
        finish(user, kubelet, "first")
        user.job("second")
        assert live(kube, namespace) == ["elsewhere", "second"]
        # An edit that names another pool is another line.
        user.change("third", placement={"pool": "wide"})
        user.job("third")


def test_a_queue_a_duration_and_lists_are_forced(
    kube: Kube, namespace: str, user: User, forced: Forced
) -> None:
    lists = {"sources": ["s3://models/", "s3://data/"], "outputs": ["s3://artifacts/models/"]}
    with forced(queue="team", maxDurationSeconds=100, allowed=lists):
        user.create()
        made = user.job()
        assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
        assert made["spec"]["suspend"] is True
        assert made["spec"]["activeDeadlineSeconds"] == 100
        spec = kube.get(user.kind.plural, namespace, "tone")["spec"]
        assert "queueName" not in spec.get("placement", {}), "nothing is written to the spec"
        for name, fields, reason in (
            ("other-queue", {"placement": {"queueName": "mine"}}, "QueueNotAllowed"),
            ("long", {"limits": {"activeDeadlineSeconds": 101}}, "DurationTooLong"),
            ("evil", {"model": {"uri": "s3://models-evil/m"}}, "SourceNotAllowed"),
            ("up", {"model": {"uri": "s3://models/%2e%2e/m"}}, "SourceNotAllowed"),
            ("away", {"output": {"uri": "s3://elsewhere/models"}}, "OutputNotAllowed"),
        ):
            user.create(name, **fields)
            user.sees("Stalled", "True", reason, name)
            assert not user.jobs(name)
