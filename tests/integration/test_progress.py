"""Reports are taken from the run's own pod, and from nobody else."""

import json
import time
import urllib.error
import urllib.request

import pytest
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import User, published

from luthier_operator.pace import PROGRESS_SECONDS

AUDIENCE = "luthier.dev/progress"


def token(kube: Kube, pod: Obj, audience: str = AUDIENCE) -> str:
    """A token bound to a pod, as the kubelet asks for it."""
    metadata = pod["metadata"]
    bound = {
        "kind": "Pod",
        "apiVersion": "v1",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    answer = kube.create(
        "serviceaccounts",
        metadata["namespace"],
        {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"audiences": [audience], "boundObjectRef": bound},
        },
        pod["spec"]["serviceAccountName"],
        "token",
    )
    return str(answer["status"]["token"])


def report(user: User, pod: Obj, sequence: int = 1, **fields: object) -> Obj:
    """A report about the user's run `tone`."""
    got = user.kube.get(user.kind.plural, user.namespace, "tone")
    labels = pod["metadata"]["labels"]
    run = {
        "kind": user.kind.name,
        "namespace": user.namespace,
        "name": "tone",
        "uid": got["metadata"]["uid"],
        "revision": labels["luthier.dev/revision"],
        "attempt": int(labels["luthier.dev/attempt"]),
    }
    return {
        "run": run,
        "pod": pod["metadata"]["name"],
        "sequence": sequence,
        "progress": {
            "stage": "train",
            "step": 40,
            "totalSteps": 100,
            "loss": 1.25,
            "gradNorm": 0.75,
            "tokensPerSecond": 5321,
            "samplesPerSecond": 12.5,
            "memoryBytes": 123456,
        },
        "etaSeconds": 60,
        "datasetValid": True,
        "checkpointCost": {"count": 2, "seconds": 1.5, "bytes": 4096},
        "restarts": {"failures": 0, "disruptions": 1},
        **fields,
    }


def post(operator: OperatorProcess, bearer: str, body: Obj | bytes) -> int:
    """Send it; the answer's code."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(operator.progress_url + "/v1/progress", data, method="POST")
    request.add_header("Authorization", f"Bearer {bearer}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def pod(operator: OperatorProcess, user: User, kubelet: Kubelet) -> Obj:
    """The pod of a run that runs."""
    user.create()
    kubelet.run(user.job()["metadata"]["name"])
    user.phase("Running")
    return kubelet.alive(user.job()["metadata"]["name"])


def test_a_report_reaches_status_and_metrics(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube
) -> None:
    began = time.monotonic()
    assert post(operator, token(kube, pod), report(user, pod)) == 204
    status = eventually(lambda: user.status() if user.status().get("progress") else None)
    assert status["progress"]["step"] == 40
    assert status["progress"]["percent"] == "40%"
    assert status["progress"]["estimatedFinish"]
    assert status["restarts"]["disruptions"] == 1
    user.sees("DatasetValid", "True")

    labels = f'kind="FineTuneJob",name="tone",namespace="{user.namespace}",pool="cpu"'
    metrics = operator.metrics()
    assert metrics[f"luthier_run_step{{{labels}}}"] == 40
    assert metrics[f"luthier_run_loss{{{labels}}}"] == 1.25
    assert metrics[f"luthier_run_grad_norm{{{labels}}}"] == 0.75
    assert metrics[f"luthier_run_tokens_per_second{{{labels}}}"] == 5321
    assert metrics[f"luthier_run_samples_per_second{{{labels}}}"] == 12.5
    assert metrics[f"luthier_run_checkpoint_bytes_total{{{labels}}}"] == 4096
    passed = time.monotonic() - began
    assert 59 - passed < metrics[f"luthier_run_eta_seconds{{{labels}}}"] <= 60
    running = labels.replace(",pool", ',phase="Running",pool')
    assert metrics[f"luthier_run_state{{{running}}}"] == 1


NOTICED: Obj = {
    "dataset": {"train": 90, "eval": 10, "labels": 3, "duplicates": 2, "truncatedPercent": 1.5},
    "estimate": {"memoryBytes": 1_000_000_000, "durationSeconds": 60},
    "resolved": {"training.precision": "bf16", "training.perDeviceBatchSize": "4"},
    "overfitting": "eval loss rose from 0.5 to 0.9 while the training loss fell",
    "inexactResume": "the pod has another number of CPUs",
}


def test_what_the_trainer_notices_is_shown_and_survives_a_restart(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube, kubelet: Kubelet
) -> None:
    machine = {"cpuPercent": 150, "dataWaitPercent": 5, "gpuPercent": 80, "gpuMemoryBytes": 4096}
    noticed = report(user, pod, machine=machine, evalMetrics={"f1": 0.5}, **NOTICED)
    assert post(operator, token(kube, pod), noticed) == 204
    overfitting = user.sees("Overfitting", "True", "LearnsByHeart")
    assert overfitting["message"] == NOTICED["overfitting"]
    exact = user.sees("ResumeExact", "False", "NotReproducible")
    assert exact["message"] == NOTICED["inexactResume"]

    def check_facts() -> None:
        status = user.status()
        for name in ("dataset", "estimate", "resolved"):
            assert status[name].items() >= NOTICED[name].items()

    check_facts()
    labels = f'kind="FineTuneJob",name="tone",namespace="{user.namespace}",pool="cpu"'
    metrics = operator.metrics()
    assert metrics[f"luthier_run_cpu_busy_cores{{{labels}}}"] == 1.5
    assert metrics[f"luthier_run_gpu_busy_ratio{{{labels}}}"] == 0.8
    assert metrics[f"luthier_run_gpu_memory_bytes{{{labels}}}"] == 4096
    assert metrics[f"luthier_run_data_wait_ratio{{{labels}}}"] == 0.05
    named = labels.replace(",name=", ',metric="f1",name=')
    assert metrics[f"luthier_run_eval_metric{{{named}}}"] == 0.5

    operator.kill()
    operator.start()
    kubelet.end(pod, 75)  # something to write a status for
    user.phase("Restarting")
    user.sees("Overfitting", "True", "LearnsByHeart")
    user.sees("ResumeExact", "False", "NotReproducible")
    check_facts()


def test_a_warning_goes_and_the_change_comes(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube, kubelet: Kubelet
) -> None:
    bearer = token(kube, pod)
    assert post(operator, bearer, report(user, pod, 1, **NOTICED)) == 204
    user.sees("Overfitting", "True")
    assert post(operator, bearer, report(user, pod, 2)) == 204

    def gone() -> bool:
        return all(it["type"] != "Overfitting" for it in user.status()["conditions"])

    eventually(gone)
    change = {"accuracy": {"by": 0.4, "low": 0.3, "high": 0.5}}
    evaluation = {
        "split": "eval",
        "base": {"accuracy": 0.4},
        "tuned": {"accuracy": 0.8},
        "change": change,
    }
    kubelet.end(pod, 0, published(user.status(), user) | {"evaluation": evaluation})
    assert user.phase("Complete")["evaluation"]["change"] == change
    labels = f'name="tone",namespace="{user.namespace}",pool="cpu"'
    series = (
        f'luthier_run_evaluation{{kind="FineTuneJob",metric="accuracy",model="tuned",{labels}}}'
    )
    assert operator.metrics()[series] == 0.8


def test_progress_alone_is_written_seldom(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube
) -> None:
    bearer = token(kube, pod)
    writes = 'luthier_operator_api_writes_total{resource="finetunejobs",verb="patch"}'
    before = -1.0
    while before != (before := operator.metrics()[writes]):
        time.sleep(1)  # the run's start is still being written
    started = time.monotonic()
    for step in range(30):
        progress = {"step": step, "totalSteps": 100}
        assert post(operator, bearer, report(user, pod, step, progress=progress)) == 204
    eventually(lambda: user.status()["progress"]["step"] == 29)
    series = 'luthier_operator_progress_reports_total{code="204"}'
    assert operator.metrics()[series] >= 30
    # On a busy machine the reports take longer than the interval of the writes.
    written, passed = operator.metrics()[writes] - before, time.monotonic() - started
    assert written <= 3 + passed // PROGRESS_SECONDS
    # An older report that comes late changes nothing.
    assert post(operator, bearer, report(user, pod, 3, progress={"step": 3})) == 204
    assert user.status()["progress"]["step"] == 29


def test_nobody_else_is_heard(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube, kubelet: Kubelet
) -> None:
    good = report(user, pod)
    assert post(operator, "nonsense", good) == 401
    assert post(operator, token(kube, pod, "https://kubernetes.default.svc"), good) == 401

    # Another run of the same namespace.
    user.create("other")
    other = kubelet.run(user.job("other")["metadata"]["name"])
    theirs = token(kube, other)
    assert post(operator, theirs, good) == 403
    assert post(operator, theirs, good | {"pod": other["metadata"]["name"]}) == 403
    mine = token(kube, pod)
    for field, value in {
        "uid": "another",
        "name": "other",
        "namespace": "default",
        "revision": "r9-00000000",
        "attempt": 2,
    }.items():
        assert post(operator, mine, good | {"run": good["run"] | {field: value}}) == 403, field

    # A pod that only wears the labels of the run (but those that the Job's controller adopts by).
    worn = {
        key: value
        for key, value in pod["metadata"]["labels"].items()
        if key.startswith("luthier.dev/")
    }
    plain = kube.create(
        "pods",
        user.namespace,
        {
            "metadata": {"name": "plain", "labels": worn},
            "spec": {"containers": [{"name": "trainer", "image": "x"}]},
        },
    )
    assert post(operator, token(kube, plain), good | {"pod": "plain"}) == 403
    assert "progress" not in user.status()


def test_what_is_wrong_with_a_report(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube
) -> None:
    bearer = token(kube, pod)
    assert post(operator, bearer, b"{") == 400
    assert post(operator, bearer, report(user, pod) | {"sequence": "first"}) == 400
    # A trainer of another version may know more.
    assert post(operator, bearer, report(user, pod) | {"unknown": 1}) == 204
    assert post(operator, bearer, b"x" * (64 * 1024 + 1)) == 413


def test_a_run_that_is_over_is_told_so(
    operator: OperatorProcess, user: User, pod: Obj, kube: Kube, kubelet: Kubelet
) -> None:
    bearer, body = token(kube, pod), report(user, pod)
    kubelet.end(pod, 0, published(user.status(), user))
    user.phase("Complete")
    assert post(operator, bearer, body) == 409
