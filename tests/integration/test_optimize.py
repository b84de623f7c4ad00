"""An OptimizeJob follows its source from apply to the published package."""

from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.test_progress import post, report, token
from integration.user import User, order_of, result, train

CANDIDATES: list[Obj] = [
    {"precision": "int8", "sizeBytes": 100, "tokensPerSecond": 20.5, "verdict": "Chosen"},
    {"precision": "int4", "sizeBytes": 60, "verdict": "Rejected", "reason": "loses too much"},
]
BY_URI: Obj = {"modelUri": "s3://models/smollm2"}


def optimized(status: Obj, user: User, name: str = "tone") -> Obj:
    """The result of a run that went well."""
    uri = f"s3://artifacts/models/{user.namespace}/{name}/{status['revision']}"
    return {
        "revision": status["revision"],
        "attempt": status["attempt"],
        "outcome": "Succeeded",
        "baseline": {"precision": "fp32", "perplexity": 3.5},
        "candidates": CANDIDATES,
        "artifact": {"uri": uri, "manifestSha256": "ef" * 32, "precision": "int8"},
        "usage": {"cpuSeconds": 10},
    }


def finish(user: User, kubelet: Kubelet, job: str, name: str = "tone") -> Obj:
    """Let the Job run and publish; returns the status."""
    pod = kubelet.run(job)
    kubelet.end(pod, 0, optimized(user.phase("Running", name), user, name))
    return user.phase("Complete", name)


def test_it_waits_for_its_source_builds_and_follows_a_newer_result(
    operator: OperatorProcess, user: User, optimizer: User, kubelet: Kubelet
) -> None:
    optimizer.create()
    missing = optimizer.sees("Ready", "False", "SourceNotFound")
    assert "There is no FineTuneJob tone" in missing["message"]
    user.create()
    optimizer.sees("Ready", "False", "SourceNotReady")
    optimizer.sees("SourceReady", "False", "SourceNotReady")
    assert not optimizer.jobs()

    artifact = train(user, kubelet)
    job = optimizer.job()
    order = order_of(job)
    assert order["run"]["kind"] == "OptimizeJob"
    assert order["run"]["uid"] == job["metadata"]["ownerReferences"][0]["uid"]
    assert order["source"]["uri"] == artifact["uri"]
    assert order["source"]["manifestSha256"] == artifact["manifestSha256"]
    assert order["optimizing"]["precisions"] == ["int8", "int4"]
    optimizer.sees("SourceReady", "True", "Published")
    first = job["metadata"]["name"]
    done = finish(optimizer, kubelet, first)
    assert done["artifact"]["precision"] == "int8"
    assert done["result"] == "int8 100 B 20.5 tokens/s"
    assert done["source"]["uri"] == artifact["uri"]
    assert done["candidates"][1]["reason"] == "loses too much"
    assert done["baseline"]["perplexity"] == 3.5
    optimizer.sees("GatesPassed", "True")
    optimizer.sees("Ready", "True", "Published")
    eventually(lambda: "Completed" in optimizer.events())
    assert optimizer.events() == ["Created", "Started", "Completed"]

    # The source is made anew: what is published stays, until there is something newer.
    user.change(training={"maxSteps": 200})
    optimizer.sees("SourceReady", "True", "Taken")
    assert optimizer.status()["revision"] == done["revision"]
    newer = train(user, kubelet)
    second = optimizer.job(besides=first)
    assert order_of(second)["source"]["uri"] == newer["uri"] != artifact["uri"]
    after = eventually(lambda: _revision(optimizer, "r2-"))
    assert after["history"][0]["outcome"] == "Complete"
    assert after["history"][0]["artifactUri"] == done["artifact"]["uri"]
    assert finish(optimizer, kubelet, second["metadata"]["name"])["source"]["uri"] == newer["uri"]


def _revision(user: User, prefix: str) -> Obj | None:
    status = user.status()
    return status if status["revision"].startswith(prefix) else None


def test_a_failed_source(
    operator: OperatorProcess, user: User, optimizer: User, kubelet: Kubelet
) -> None:
    user.create()
    optimizer.create()
    pod = kubelet.run(user.job()["metadata"]["name"])
    error = {"code": "BucketNotFound", "message": "there is no bucket data"}
    kubelet.end(pod, 66, result(user.phase("Running"), outcome="Failed", error=error))
    failed = optimizer.sees("Stalled", "True", "SourceFailed")
    assert "BucketNotFound" in failed["message"]
    # It goes on by itself once the source does.
    user.annotate(retry="now")
    optimizer.sees("Ready", "False", "SourceNotReady")
    optimizer.sees("Stalled", "False")


def test_gates_that_are_not_met_and_a_retry(
    operator: OperatorProcess, optimizer: User, kubelet: Kubelet
) -> None:
    optimizer.create(source=BY_URI)
    first = optimizer.job()["metadata"]["name"]
    pod = kubelet.run(first)
    status = optimizer.phase("Running")
    error = {"code": "GatesNotMet", "message": "int8: 140 bytes, maxSize is 100", "param": "gates"}
    rejected = [{**it, "verdict": "Rejected"} for it in CANDIDATES]
    told = optimized(status, optimizer) | {"outcome": "Failed", "error": error}
    kubelet.end(pod, 80, {**told, "candidates": rejected, "artifact": None})
    assert "maxSize" in optimizer.sees("Failed", "True", "GatesNotMet")["message"]
    optimizer.sees("GatesPassed", "False", "GatesNotMet")
    assert [it["verdict"] for it in optimizer.status()["candidates"]] == ["Rejected", "Rejected"]
    assert len(kubelet.pods(first)) == 1

    optimizer.annotate(retry="once")
    second = optimizer.job(besides=first)["metadata"]["name"]
    eventually(lambda: optimizer.status()["attempt"] == 2)
    assert optimizer.status()["revision"] == status["revision"]
    finish(optimizer, kubelet, second)


def test_a_run_goes_on_without_its_source(
    operator: OperatorProcess, user: User, optimizer: User, kubelet: Kubelet
) -> None:
    user.create()
    train(user, kubelet)
    optimizer.create()
    job = optimizer.job()["metadata"]["name"]
    kubelet.run(job)
    optimizer.phase("Running")
    user.kube.delete("finetunejobs", user.namespace, "tone")
    gone = optimizer.sees("SourceReady", "True", "Taken")
    assert "There is no FineTuneJob tone" in gone["message"]
    assert len(optimizer.jobs()) == 1
    finish(optimizer, kubelet, job)


def test_edited_while_it_runs(operator: OperatorProcess, optimizer: User, kubelet: Kubelet) -> None:
    optimizer.create(source=BY_URI)
    first = optimizer.job()["metadata"]["name"]
    kubelet.run(first)
    before = optimizer.phase("Running")
    optimizer.change(precisions=["int4"])
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(first)))
    optimizer.sees("Scheduled", "False", "Stopping")
    kubelet.finish_deletions(first)
    second = optimizer.job(besides=first)
    assert order_of(second)["optimizing"]["precisions"] == ["int4"]
    after = eventually(lambda: _revision(optimizer, "r2-"))
    assert after["history"][0]["revision"] == before["revision"]
    assert after["history"][0]["outcome"] == "Superseded"
    # What doesn't shape the result leaves the run alone.
    kubelet.run(second["metadata"]["name"])
    optimizer.change(limits={"ttlSecondsAfterFinished": 3600})
    eventually(lambda: optimizer.status()["observedGeneration"] == 3)
    assert optimizer.status()["revision"] == after["revision"]
    finish(optimizer, kubelet, second["metadata"]["name"])
    eventually(lambda: optimizer.job()["spec"].get("ttlSecondsAfterFinished") == 3600)


def test_suspended_and_resumed(
    operator: OperatorProcess, optimizer: User, kubelet: Kubelet
) -> None:
    optimizer.create(source=BY_URI, suspend=True)
    optimizer.sees("Suspended", "True")
    assert not optimizer.jobs()
    optimizer.change(suspend=False)
    name = optimizer.job()["metadata"]["name"]
    kubelet.run(name)
    optimizer.phase("Running")
    optimizer.change(suspend=True)
    eventually(lambda: any("deletionTimestamp" in p["metadata"] for p in kubelet.pods(name)))
    kubelet.finish_deletions(name)
    optimizer.sees("Suspended", "True")
    optimizer.change(suspend=False)
    finish(optimizer, kubelet, name)


def test_a_queued_run_waits_for_kueue(operator: OperatorProcess, optimizer: User) -> None:
    optimizer.create(source=BY_URI, placement={"queueName": "team"})
    job = optimizer.job()
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["spec"]["suspend"] is True
    optimizer.phase("Queued")


def test_another_owners_claim_is_the_trainers_to_tell(
    operator: OperatorProcess, optimizer: User, kubelet: Kubelet
) -> None:
    optimizer.create(source=BY_URI)
    pod = kubelet.run(optimizer.job()["metadata"]["name"])
    error = {"code": "OutputClaimed", "message": "the folder belongs to OptimizeJob b/tone"}
    told = optimized(optimizer.phase("Running"), optimizer)
    kubelet.end(pod, 79, {**told, "outcome": "Failed", "error": error, "artifact": None})
    assert "belongs to" in optimizer.sees("Failed", "True", "OutputClaimed")["message"]


def test_what_the_fine_tune_job_names_is_mounted(
    operator: OperatorProcess, user: User, optimizer: User, kubelet: Kubelet
) -> None:
    rows = {"uri": "configmap://rows/train.csv", "template": "{text}: {label}"}
    user.create(dataset={**rows, "evalFraction": 0.1})
    train(user, kubelet)
    optimizer.create()
    pod = optimizer.job()["spec"]["template"]["spec"]
    volumes = {it["name"]: it for it in pod["volumes"]}
    mounts = {it["mountPath"]: it["name"] for it in pod["containers"][0]["volumeMounts"]}
    mounted = volumes[mounts["/etc/luthier/configmaps/rows"]]["configMap"]
    assert mounted["items"] == [{"key": "train.csv", "path": "train.csv"}]


def test_reports_reach_status_and_metrics_under_its_own_kind(
    operator: OperatorProcess, user: User, optimizer: User, kubelet: Kubelet, kube: Kube
) -> None:
    # A FineTuneJob of the same name runs beside it.
    user.create()
    theirs = kubelet.run(user.job()["metadata"]["name"])
    optimizer.create(source=BY_URI)
    pod = kubelet.run(optimizer.job()["metadata"]["name"])
    optimizer.phase("Running")
    told = report(optimizer, pod, candidates=CANDIDATES[:1], progress={"stage": "Measuring int8"})
    assert post(operator, token(kube, pod), told) == 204
    status = eventually(lambda: optimizer.status() if optimizer.status().get("stage") else None)
    assert status["stage"] == "Measuring int8"
    assert status["candidates"][0]["precision"] == "int8"
    assert "progress" not in user.status()
    # Neither speaks for the other.
    assert post(operator, token(kube, theirs), told | {"sequence": 9}) == 403
    run = told["run"] | {"kind": "FineTuneJob"}
    assert post(operator, token(kube, pod), told | {"run": run}) == 403

    labels = f'kind="OptimizeJob",name="tone",namespace="{user.namespace}"'
    series = operator.metrics()
    assert series[f'luthier_run_state{{{labels},phase="Running",pool="cpu"}}'] == 1
    assert series[f'luthier_run_restarts_disruptions_total{{{labels},pool="cpu"}}'] == 1
    finish(optimizer, kubelet, optimizer.job()["metadata"]["name"])
    assert post(operator, token(kube, theirs), report(user, theirs)) == 204
