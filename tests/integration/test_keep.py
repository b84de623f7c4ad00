"""What is in use, rolled back and forth; order in storage; what goes with its resource."""

from typing import Any

import pytest
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import OPTIMIZE_JOB, User, order_of, published, result, train

MEASURED = {"metrics": ["loss", "accuracy"]}
IF_BETTER = {"when": "IfBetter", "metric": "accuracy"}


@pytest.fixture
def optimizer(kube: Kube, user: User) -> User:
    """The same person, who optimises what is in use."""
    return User(kube, user.namespace, OPTIMIZE_JOB)


def errand(user: User) -> Obj:
    """Wait for the Job that keeps order."""

    def check() -> Obj:
        jobs = [
            it
            for it in user.jobs()
            if it["metadata"]["labels"]["luthier.dev/role"] == "keep"
            and "deletionTimestamp" not in it["metadata"]
        ]
        assert len(jobs) == 1, len(jobs)
        return jobs[0]

    found: Obj = eventually(check)
    return found


def carried_out(user: User, kubelet: Kubelet, job: Obj, **told: Any) -> Obj:
    """Let an errand come to a good end; returns its order."""
    name, order = job["metadata"]["name"], order_of(job)
    pod = kubelet.run(name)
    run = order["run"]
    kubelet.end(pod, 0, result(run, **told))
    return order


def in_use(user: User) -> str | None:
    found: str | None = (user.status().get("inUse") or {}).get("revision")
    return found


def test_a_rollback_by_a_pin_moves_whoever_follows(
    operator: OperatorProcess, user: User, optimizer: User, kubelet: Kubelet
) -> None:
    user.create()
    first = train(user, kubelet)["uri"].rpartition("/")[2]
    user.change(training={"maxSteps": 200})
    second = train(user, kubelet)["uri"].rpartition("/")[2]
    assert in_use(user) == second
    optimizer.create()
    eventually(lambda: optimizer.status()["source"]["revision"] == second)

    user.change(promote={"pin": first})
    eventually(lambda: in_use(user) == first)
    user.sees("Ready", "True", "Pinned")
    user.sees("Promoted", "False", "Pinned")
    user.sees("Stalled", "False")
    # What it builds ends first; then it takes what is in use.
    job = optimizer.job()
    revision = optimizer.status()["revision"]
    uri = f"s3://artifacts/models/{user.namespace}/tone/{revision}"
    artifact = {"uri": uri, "manifestSha256": "ab" * 32, "precision": "int8"}
    kubelet.end(
        kubelet.run(job["metadata"]["name"]), 0, result(optimizer.status(), artifact=artifact)
    )
    eventually(lambda: optimizer.status()["source"]["revision"] == first)

    order = carried_out(user, kubelet, errand(user))
    assert order["inUse"]["revision"] == first
    assert order["output"] == f"s3://artifacts/models/{user.namespace}/tone"
    user.sees("Kept", "True", "InOrder")
    eventually(lambda: not [it for it in user.jobs() if it["metadata"]["name"].find("keep") > 0])
    assert "InUse" in user.events()

    user.change(promote={"pin": "r9-00000000"})
    told = user.sees("Promoted", "False", "PinNotFound")
    assert first in told["message"]
    assert second in told["message"]
    assert in_use(user) == first
    user.change(promote={"pin": second})
    eventually(lambda: in_use(user) == second)
    user.sees("Ready", "True", "Published")


def test_a_candidate_that_is_not_better_stays_out(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create(evaluation=MEASURED, promote=IF_BETTER)
    first = train(user, kubelet)["uri"].rpartition("/")[2]
    user.change(training={"maxSteps": 200})
    job = eventually(lambda: _run_of(user, 2))
    order = order_of(job)
    assert order["incumbent"]["revision"] == first
    assert order.get("comesIntoUse") is None
    status = user.phase("Running") if kubelet.run(job["metadata"]["name"]) else {}
    told = published(status, user)
    told["evaluation"] |= {
        "tuned": {"accuracy": 0.8, "loss": 1},
        "comparedWith": first,
        "inUse": {"accuracy": 0.79},
        "gain": {"accuracy": {"by": 0.01, "low": -0.05, "high": 0.07}},
    }
    kubelet.end(kubelet.alive(job["metadata"]["name"]), 0, told)
    user.phase("Complete")
    user.sees("Promoted", "False", "Undecided")
    user.sees("Ready", "True", "NotPromoted")
    user.sees("Stalled", "False")
    assert in_use(user) == first


def _run_of(user: User, number: int) -> Obj:
    jobs = [
        it
        for it in user.jobs()
        if it["metadata"]["labels"].get("luthier.dev/revision", "").startswith(f"r{number}-")
    ]
    assert len(jobs) == 1, len(jobs)
    return jobs[0]


def test_a_rerun_makes_the_same_anew(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    first = train(user, kubelet)["uri"].rpartition("/")[2]
    user.annotate(rerun="once")
    job = eventually(lambda: _run_of(user, 2))
    assert order_of(job)["anew"] is True
    assert user.status()["revision"].partition("-")[2] == first.partition("-")[2]
    assert in_use(user) == first
    second = train(user, kubelet)["uri"].rpartition("/")[2]
    assert in_use(user) == second
    assert user.status()["rerunToken"] == "once"


def test_a_resource_created_again_goes_on_behind_what_lies_there(
    operator: OperatorProcess, user: User, kubelet: Kubelet
) -> None:
    user.create()
    name = user.job()["metadata"]["name"]
    pod = kubelet.run(name)
    status = user.phase("Running")
    error = {"code": "RevisionTaken", "message": "r1 is there already"}
    kubelet.end(pod, 79, result(status, outcome="Failed", error=error, newestRevision=4))
    eventually(lambda: user.status()["revision"].startswith("r5-"))
    assert train(user, kubelet)["uri"].rpartition("/")[2].startswith("r5-")
    assert [it["revision"] for it in user.status()["history"]] == [status["revision"]]


def test_artifacts_go_with_their_resource(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(deletionPolicy="Delete")
    train(user, kubelet)
    assert _finalizers(user) == ["luthier.dev/artifacts"]
    # With foreground deletion, too, as GitOps engines delete.
    kube.delete(user.kind.plural, user.namespace, "tone", propagationPolicy="Foreground")
    job = errand(user)
    assert "ownerReferences" not in job["metadata"]
    order = carried_out(user, kubelet, job, deleted=["r1-00000000"])
    assert order["everything"] is True
    eventually(lambda: not kube.list(user.kind.plural, user.namespace))
    eventually(lambda: "ArtifactsDeleted" in user.events())
    eventually(lambda: not user.jobs())


def test_what_could_not_be_deleted_is_told(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(deletionPolicy="Delete")
    # It runs still: that ends first.
    name = user.job()["metadata"]["name"]
    kubelet.run(name)
    user.phase("Running")
    kube.delete(user.kind.plural, user.namespace, "tone")
    eventually(lambda: any("deletionTimestamp" in it["metadata"] for it in kubelet.pods(name)))
    assert not [it for it in user.jobs() if it["metadata"]["name"].find("keep") > 0]
    kubelet.finish_deletions(name)
    job = errand(user)
    run = order_of(job)["run"]
    error = {"code": "StorageDenied", "message": "s3://artifacts: the key may not delete"}
    kubelet.end(
        kubelet.run(job["metadata"]["name"]), 77, result(run, outcome="Failed", error=error)
    )
    eventually(lambda: not kube.list(user.kind.plural, user.namespace))
    eventually(lambda: "ArtifactsKept" in user.events())


def test_a_policy_that_goes_back_takes_the_finalizer_away(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(deletionPolicy="Delete")
    user.job()
    assert eventually(lambda: _finalizers(user)) == ["luthier.dev/artifacts"]
    kube.patch(
        user.kind.plural,
        user.namespace,
        "tone",
        {"metadata": {"finalizers": ["example.com/mine", "luthier.dev/artifacts"]}},
    )
    user.change(deletionPolicy="Retain")
    eventually(lambda: _finalizers(user) == ["example.com/mine"])
    kube.patch(user.kind.plural, user.namespace, "tone", {"metadata": {"finalizers": None}})


def test_a_namespace_that_ends_is_not_held_up(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(deletionPolicy="Delete")
    train(user, kubelet)
    kube.delete("namespaces", None, user.namespace)
    eventually(lambda: not kube.list(user.kind.plural, user.namespace))


def _finalizers(user: User) -> list[str]:
    metadata = user.kube.get(user.kind.plural, user.namespace, "tone")["metadata"]
    return list(metadata.get("finalizers") or [])


def test_an_errand_that_a_quota_holds_back_is_told_until_it_is_there(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create()
    first = train(user, kubelet)["uri"].rpartition("/")[2]
    user.change(training={"maxSteps": 200})
    train(user, kubelet)
    full = {"metadata": {"name": "full"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    kube.create("resourcequotas", user.namespace, full)
    eventually(lambda: kube.get("resourcequotas", user.namespace, "full")["status"]["hard"])
    user.change(promote={"pin": first})
    told = user.sees("ErrandRefused", "True", "QuotaExceeded")
    assert "keeps storage in order" in told["message"]
    assert "exceeded quota: full" in told["message"]
    user.sees("Ready", "True", "Pinned")

    kube.delete("resourcequotas", user.namespace, "full")
    carried_out(user, kubelet, errand(user))
    user.sees("Kept", "True", "InOrder")
    assert "ErrandRefused" not in {it["type"] for it in user.status()["conditions"]}
