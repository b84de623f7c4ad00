"""What GitOps engines make of our resources: healthy when it is so, and nothing drifts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from integration import test_bundle, test_optimize
from integration.engines import GITOPS, ask, kstatus
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import OPTIMIZE_JOB, User, published, result, train
from unit.operator.builders import observed, resource
from unit.operator.promotion_support import BETTER, UNSURE, Life
from unit.operator.test_in_use import published as published_before

from luthier_api import API_VERSION
from luthier_api.customresources import UNSEEN
from luthier_cluster import Cluster
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute

STAGES = [
    f"teams/{team}/{stage}"
    for team in ("support", "reviews")
    for stage in ("staging", "production")
]
MANAGER = "kustomize-controller"
WAITS = ("InProgress", "InProgress", "Progressing")
DONE = ("Current", "Current", "Healthy")
BROKEN = ("Failed", "Failed", "Degraded")
# An older result is in use while what the spec asks for is made.
UPDATES = ("InProgress", "Current", "Progressing")


def whole(user: User, name: str = "tone") -> Obj:
    """The resource as an engine reads it."""
    return user.kube.get(user.kind.plural, user.namespace, name)


def edit(user: User, **spec: Any) -> Obj:
    """Merge-patch the spec; the resource before the operator has seen the change."""
    return user.kube.patch(user.kind.plural, user.namespace, "tone", {"spec": spec})


def hold(moments: dict[str, tuple[Obj, tuple[str, str, str]]]) -> dict[str, str]:
    """Each engine says of each moment's object what is told beside it: kstatus, our expressions,
    our Lua. Returns what Argo CD shows to people."""
    said = ask([obj for obj, _ in moments.values()])
    words = {
        moment: (it.flux, it.in_use, it.argo) for moment, it in zip(moments, said, strict=True)
    }
    assert words == {moment: expected for moment, (_, expected) in moments.items()}
    for (obj, expected), it in zip(moments.values(), said, strict=True):
        if expected == BROKEN:
            (stalled,) = [c for c in obj["status"]["conditions"] if c["type"] == "Stalled"]
            assert it.flux_message == it.argo_message == stalled["message"] != ""
    return {moment: it.argo_message for moment, it in zip(moments, said, strict=True)}


def test_from_apply_to_deletion(operator: OperatorProcess, user: User, kubelet: Kubelet) -> None:
    fresh = user.create()
    moments = {"fresh": (fresh, WAITS)}
    first = user.job()["metadata"]["name"]
    user.phase("Pending")
    moments["pending"] = (whole(user), WAITS)
    pod = kubelet.run(first)
    user.phase("Running")
    moments["running"] = (whole(user), WAITS)
    kubelet.end(pod, 0, published(user.status(), user))
    user.phase("Complete")
    moments["complete"] = (whole(user), DONE)

    moments["edited"] = (edit(user, training={"maxSteps": 200}), WAITS)
    second = user.job(besides=first)["metadata"]["name"]
    kubelet.run(second)
    user.phase("Running")
    user.sees("Ready", "True", "Updating")
    moments["updating"] = (whole(user), UPDATES)
    user.change(suspend=True)
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(second)))
    kubelet.finish_deletions(second)
    user.sees("Suspended", "True")
    moments["suspended"] = (whole(user), ("InProgress", "Current", "Suspended"))
    user.change(suspend=False)
    pod = kubelet.run(second)
    error = {"code": "BucketNotFound", "message": "there is no bucket data"}
    kubelet.end(pod, 66, result(user.phase("Running"), outcome="Failed", error=error))
    user.sees("Ready", "True", "UpdateFailed")
    moments["failed"] = (whole(user), BROKEN)
    user.annotate(retry="now")
    eventually(lambda: user.status()["attempt"] == 2)
    moments["retried"] = (whole(user), UPDATES)
    gone = user.kube.delete("finetunejobs", user.namespace, "tone", propagationPolicy="Foreground")
    moments["deleted"] = (gone, ("Terminating", "InProgress", "Progressing"))

    shown = hold(moments)
    assert "hasn't seen" in shown["fresh"]
    assert "hasn't seen" in shown["edited"]
    assert shown["complete"].startswith("s3://artifacts/models/")
    assert "no bucket data" in shown["failed"]
    # What the CRD's default prevents.
    assert fresh.pop("status") == UNSEEN
    assert kstatus(fresh) == "Current"


def test_what_holds_a_first_run_back(operator: OperatorProcess, user: User) -> None:
    user.create("asleep", suspend=True)
    user.create("queued", placement={"queueName": "team"})
    user.create("forbidden", placement={"pool": "elsewhere"})
    user.sees("Suspended", "True", name="asleep")
    user.sees("Scheduled", "False", "KueueNotInstalled", name="queued")
    user.sees("Stalled", "True", "PoolNotAllowed", name="forbidden")
    shown = hold(
        {
            "asleep": (whole(user, "asleep"), ("InProgress", "InProgress", "Suspended")),
            "queued": (whole(user, "queued"), WAITS),
            "forbidden": (whole(user, "forbidden"), BROKEN),
        }
    )
    assert "queue team" in shown["queued"]


def test_packages(
    operator: OperatorProcess, optimizer: User, bundler: User, kubelet: Kubelet
) -> None:
    moments = {"fresh package": (optimizer.create(), WAITS)}
    optimizer.sees("Ready", "False", "SourceNotFound")
    moments["without a source"] = (whole(optimizer), WAITS)
    optimizer.create("direct", source=test_optimize.BY_URI)
    job = optimizer.job("direct")["metadata"]["name"]
    test_optimize.finish(optimizer, kubelet, job, "direct")
    moments["optimized"] = (whole(optimizer, "direct"), DONE)

    adapters = [{"name": "tone", "uri": "s3://adapters/tone"}]
    moments["fresh bundle"] = (bundler.create(adapters=adapters), WAITS)
    first = bundler.job()["metadata"]["name"]
    test_bundle.finish(bundler, kubelet, first)
    moments["bundled"] = (whole(bundler), DONE)
    bundler.change(adapters=[*adapters, {"name": "mood", "uri": "s3://adapters/mood"}])
    second = bundler.job(besides=first)["metadata"]["name"]
    bundler.sees("Ready", "True", "Updating")
    moments["refreshed"] = (whole(bundler), UPDATES)
    pod = kubelet.run(second)
    error = {"code": "BaseUnknown", "message": "no such architecture"}
    told = test_bundle.bundled(bundler.phase("Running"), bundler, outcome="Failed", error=error)
    kubelet.end(pod, 78, {**told, "artifact": None})
    bundler.sees("Ready", "True", "UpdateFailed")
    moments["bundle failed"] = (whole(bundler), BROKEN)
    assert "There is no FineTuneJob tone" in hold(moments)["without a source"]


def test_a_spec_that_cannot_be_read() -> None:
    """What an older schema let in: no API server of today would store it."""

    def moment(status: Obj, generation: int, **spec: Any) -> Obj:
        obj = resource(generation=generation, status=status, **spec)
        seen = observed(obj)
        now = compute(seen, decide(seen)).to_json()
        return obj | {"apiVersion": API_VERSION, "kind": "FineTuneJob", "status": now}

    done = published_before().to_json()
    unread = moment(done, 2, task="translation")
    hold({"unread": (unread, BROKEN), "corrected": (moment(unread["status"], 3), DONE)})


@pytest.fixture(scope="module")
def teams(control_plane: Cluster) -> Iterator[Cluster]:
    """A cluster with the namespaces of examples/gitops."""
    file = str(GITOPS / "namespaces.yaml")
    control_plane.kubectl("apply", "-f", file)
    yield control_plane
    control_plane.kubectl("delete", "-f", file, "--wait=false")


def test_the_layout_is_accepted_as_it_stands(teams: Cluster) -> None:
    steps = {}
    for stage in STAGES:
        words = ["apply", "--server-side", "--dry-run=server", "-o", "json", "-k"]
        found = json.loads(teams.kubectl(*words, str(GITOPS / stage)).stdout)["items"]
        assert {it["kind"] for it in found} == {"FineTuneJob", "OptimizeJob"}
        (job,) = [it for it in found if it["kind"] == "FineTuneJob"]
        steps[job["metadata"]["namespace"]] = job["spec"]["training"]["maxSteps"]
    assert steps == {
        "support-staging": 20,
        "support-production": 2000,
        "reviews-staging": 20,
        "reviews-production": 2000,
    }


def test_nothing_drifts_from_what_git_says(
    operator: OperatorProcess, teams: Cluster, kube: Kube
) -> None:
    folder = ("--server-side", f"--field-manager={MANAGER}", "-k", str(GITOPS / STAGES[0]))
    teams.kubectl("apply", *folder)
    user, optimizer = User(kube, "support-staging"), User(kube, "support-staging", OPTIMIZE_JOB)
    kubelet = Kubelet(kube, "support-staging")
    train(user, kubelet, "classifier")
    job = optimizer.job("classifier")["metadata"]["name"]
    test_optimize.finish(optimizer, kubelet, job, "classifier")

    before = [whole(it, "classifier") for it in (user, optimizer)]
    assert teams.kubectl("diff", *folder).stdout == ""
    teams.kubectl("apply", *folder)
    after = [whole(it, "classifier") for it in (user, optimizer)]
    for one, other in zip(before, after, strict=True):
        assert one["metadata"]["resourceVersion"] == other["metadata"]["resourceVersion"]
        others = [it for it in other["metadata"]["managedFields"] if it["manager"] != MANAGER]
        assert others
        assert {it.get("subresource") for it in others} == {"status"}


def test_a_result_that_is_not_in_use() -> None:
    better = {"when": "IfBetter", "metric": "accuracy"}

    def told(life: Life) -> Obj:
        obj = life.obj
        return {"apiVersion": API_VERSION, "kind": "FineTuneJob"} | obj

    moments: dict[str, tuple[Obj, tuple[str, str, str]]] = {}
    life = Life(promote=better)
    first = life.run().revision
    life.train(200, gain=UNSURE)
    moments["not promoted"] = (told(life), DONE)
    life.train(300, gain=BETTER)
    moments["promoted"] = (told(life), DONE)
    life.edit(promote=better | {"pin": first})
    moments["rolled back"] = (told(life), DONE)
    life.edit(training={"maxSteps": 400})
    moments["updating"] = (told(life), UPDATES)
    life.run()
    life.edit(promote={"pin": "r9-00000000"})
    moments["pinned to nothing"] = (told(life), BROKEN)
    gated = Life(promote={"atLeast": {"accuracy": 0.8}})
    gated.run(0.7)
    moments["nothing in use"] = (told(gated), BROKEN)
    hold(moments)
