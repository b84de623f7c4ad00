"""An AdapterBundle waits for its adapters, builds, and is kept fresh."""

import signal

from integration.kube import Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User, order_of, published, train


def bundled(status: Obj, user: User, **fields: object) -> Obj:
    """The result of a run that went well."""
    uri = f"s3://artifacts/models/{user.namespace}/tone/{status['revision']}"
    return {
        "revision": status["revision"],
        "attempt": status["attempt"],
        "outcome": "Succeeded",
        "adapters": [],
        "proof": {"adapters": 2, "isolated": True, "rebuilt": 1, "sizeBytes": 100},
        "artifact": {"uri": uri, "manifestSha256": "ef" * 32},
        **fields,
    }


def finish(user: User, kubelet: Kubelet, job: str, **fields: object) -> Obj:
    """Let the Job run and publish; returns the status."""
    pod = kubelet.run(job)
    kubelet.end(pod, 0, bundled(user.phase("Running"), user, **fields))
    return user.phase("Complete")


def states(status: Obj) -> dict[str, str]:
    """State by adapter."""
    return {it["name"]: it["state"] for it in status["adapters"]}


def test_it_waits_builds_and_refreshes(
    operator: OperatorProcess, user: User, bundler: User, kubelet: Kubelet
) -> None:
    bundler.create()
    user.create("tone")
    user.create("mood")
    waiting = bundler.sees("AdaptersReady", "False", "AdaptersNotReady")
    assert "tone, mood" in waiting["message"]
    bundler.sees("Ready", "False", "AdaptersNotReady")
    assert not bundler.jobs()

    # The first that is ready is built; the other one is awaited.
    tone = train(user, kubelet, "tone")
    first = bundler.job()
    order = order_of(first)
    assert order["run"]["kind"] == "AdapterBundle"
    assert [it["name"] for it in order["adapters"]] == ["tone"]
    assert order["adapters"][0]["source"]["uri"] == tone["uri"]
    assert order["adapters"][0]["source"]["manifestSha256"] == tone["manifestSha256"]
    assert "previous" not in order
    done = finish(bundler, kubelet, first["metadata"]["name"])
    assert states(done) == {"tone": "Included", "mood": "Pending"}
    bundler.sees("Ready", "True", "Published")
    package = done["current"]

    # The other one comes: the old package stays in use until the new one is there.
    mood = train(user, kubelet, "mood")
    second = bundler.job(besides=first["metadata"]["name"])
    order = order_of(second)
    assert [it["source"]["uri"] for it in order["adapters"]] == [tone["uri"], mood["uri"]]
    assert order["previous"] == package["uri"]
    assert "keepLast" not in order  # what is as ever isn't told
    updating = bundler.sees("Ready", "True", "Updating")
    assert package["uri"] in updating["message"]
    assert bundler.status()["current"] == package
    bundler.sees("AdaptersReady", "True")
    done = finish(bundler, kubelet, second["metadata"]["name"])
    assert done["current"]["uri"].endswith(done["revision"])
    assert done["history"][0]["artifactUri"] == package["uri"]
    assert states(done) == {"tone": "Included", "mood": "Included"}

    # A newer result of one of them: another revision; what is gone is kept as it was.
    user.kube.delete("finetunejobs", user.namespace, "mood")
    user.change("tone", training={"maxSteps": 200})
    newer = train(user, kubelet, "tone")
    names = [it["metadata"]["name"] for it in (first, second)]
    (third,) = eventually(
        lambda: [it for it in bundler.jobs() if it["metadata"]["name"] not in names]
    )
    order = order_of(third)
    assert [it["source"]["uri"] for it in order["adapters"]] == [newer["uri"], mood["uri"]]
    assert order["run"]["revision"].startswith("r3-")


def test_an_adapter_that_does_not_fit_is_left_out_and_named(
    operator: OperatorProcess, user: User, bundler: User, kubelet: Kubelet
) -> None:
    adapters = [
        {"name": "tone", "uri": "s3://adapters/tone"},
        {"name": "odd", "uri": "s3://adapters/odd"},
    ]
    bundler.create(adapters=adapters)
    first = bundler.job()["metadata"]["name"]
    ends = [
        {"name": "tone", "included": True},
        {"name": "odd", "included": False, "code": "OtherBase", "message": "of another base"},
    ]
    done = finish(bundler, kubelet, first, adapters=ends)
    assert states(done) == {"tone": "Included", "odd": "LeftOut"}
    left_out = bundler.sees("AdaptersCompatible", "False", "AdaptersLeftOut")
    assert left_out["message"] == "odd (OtherBase): of another base"
    bundler.sees("Ready", "True", "Published")
    eventually(lambda: "AdaptersLeftOut" in bundler.events())
    # Taken out of the spec, it is a package of its own.
    bundler.change(adapters=adapters[:1])
    second = bundler.job(besides=first)["metadata"]["name"]
    done = finish(bundler, kubelet, second)
    assert states(done) == {"tone": "Included"}
    bundler.sees("AdaptersCompatible", "True")


def test_fail_waits_for_all_of_them(
    operator: OperatorProcess, user: User, bundler: User, kubelet: Kubelet
) -> None:
    user.create("tone")
    user.create("mood")
    bundler.create(onIncompatible="Fail")
    train(user, kubelet, "tone")
    waiting = eventually(lambda: _only(bundler, "mood"))
    assert waiting["reason"] == "AdaptersNotReady"
    assert not bundler.jobs()
    train(user, kubelet, "mood")
    assert len(order_of(bundler.job())["adapters"]) == 2


def _only(bundler: User, name: str) -> Obj | None:
    condition = bundler.condition("AdaptersReady")
    return condition if condition["message"].startswith(f"Without a result: {name}.") else None


def test_changes_in_a_row_make_one_build(
    operator: OperatorProcess, bundler: User, kubelet: Kubelet
) -> None:
    adapters = [{"name": f"a{number}", "uri": f"s3://adapters/{number}"} for number in range(4)]
    bundler.create(adapters=adapters[:1])
    first = bundler.job()["metadata"]["name"]
    kubelet.run(first)
    bundler.phase("Running")
    for count in (2, 3, 4):
        bundler.change(adapters=adapters[:count])
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(first)))
    bundler.sees("Scheduled", "False", "Stopping")
    assert [it["metadata"]["name"] for it in bundler.jobs()] == [first]
    kubelet.finish_deletions(first)
    second = bundler.job(besides=first)
    assert len(order_of(second)["adapters"]) == 4
    done = finish(bundler, kubelet, second["metadata"]["name"])
    assert len(done["current"]["uri"]) > 0
    assert {it["outcome"] for it in done["history"]} == {"Superseded"}


def test_a_failed_update_keeps_the_package_until_a_retry(
    operator: OperatorProcess, bundler: User, kubelet: Kubelet
) -> None:
    bundler.create(adapters=[{"name": "tone", "uri": "s3://adapters/tone"}])
    first = bundler.job()["metadata"]["name"]
    package = finish(bundler, kubelet, first)["current"]
    bundler.change(precision="int4")
    second = bundler.job(besides=first)["metadata"]["name"]
    pod = kubelet.run(second)
    error = {"code": "BaseUnknown", "message": "no such architecture", "param": "base.uri"}
    told = bundled(bundler.phase("Running"), bundler, outcome="Failed", error=error)
    kubelet.end(pod, 78, {**told, "artifact": None, "proof": None})
    bundler.sees("Failed", "True", "BaseUnknown")
    bundler.sees("Stalled", "True", "BaseUnknown")
    assert package["uri"] in bundler.sees("Ready", "True", "UpdateFailed")["message"]
    assert bundler.status()["current"] == package
    bundler.annotate(retry="once")
    (third,) = eventually(
        lambda: [it for it in bundler.jobs() if it["metadata"]["name"] not in (first, second)]
    )
    done = finish(bundler, kubelet, third["metadata"]["name"])
    assert done["attempt"] == 2
    assert done["current"] != package


def test_suspended(operator: OperatorProcess, bundler: User) -> None:
    bundler.create(adapters=[{"name": "tone", "uri": "s3://adapters/tone"}], suspend=True)
    bundler.sees("Suspended", "True")
    assert not bundler.jobs()
    bundler.change(suspend=False)
    bundler.job()


def test_what_was_published_while_nobody_watched_is_built_after_the_restart(
    operator: OperatorProcess, user: User, bundler: User, kubelet: Kubelet
) -> None:
    user.create("tone")
    bundler.create()
    pod = kubelet.run(user.job("tone")["metadata"]["name"])
    status = user.phase("Running", "tone")
    operator.kill(signal.SIGKILL)
    kubelet.end(pod, 0, published(status, user, "tone"))
    operator.start()
    order = order_of(bundler.job())
    assert [it["name"] for it in order["adapters"]] == ["tone"]
