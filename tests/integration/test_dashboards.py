"""Every query of every dashboard, and every series that an alert names: asked of a real Prometheus
that scrapes a real operator, with runs of every kind in every state."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.kube import Kube, Obj, eventually
from integration.kubelet import NODE, Kubelet
from integration.operatorprocess import CONFIG, OperatorProcess, make_lease, make_ledgers
from integration.test_optimize import optimized
from integration.test_progress import post, report, token
from integration.user import ADAPTER_BUNDLE, OPTIMIZE_JOB, User, published, result
from ports import ReservedPort
from prometheus import Prometheus

from luthier_cluster import Cluster

FILES = Path(__file__).parents[2] / "charts" / "luthier" / "files"
LEASE = ("luthier-dashboards", "luthier-dashboards")
NAMESPACE = "watched"
GPU_POOL = """
- name: gpu
  image: trainer:test
  maxGpus: 8
  resources: {requests: {cpu: 500m}, limits: {}}
"""
# Longer than two scrapes and two writes of the ledger: what rises has risen.
RANGE = "1m"
DASHBOARDS = sorted(FILES.glob("dashboards/*.json"))
ALERTS: list[Obj] = [
    rule
    for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
# What runs of which kind are there: those of the dashboard of one run are asked for each.
RUNS = {
    "tone": "FineTuneJob", "done": "FineTuneJob", "bad": "FineTuneJob", "waits": "FineTuneJob",
    "package": "OptimizeJob", "bundle": "AdapterBundle",
}  # fmt: skip


class Fleet:
    """Runs of a namespace, played."""

    def __init__(self, kube: Kube, operator: OperatorProcess) -> None:
        self.kube, self.operator = kube, operator
        self.user = User(kube, NAMESPACE)
        self.kubelet = Kubelet(kube, NAMESPACE)

    def play(self) -> None:
        """One that trains, is done, has failed, waits; a package, a bundle."""
        self._train()
        self._end("done", self.user, lambda status: published(status, self.user, "done"))
        self.user.create("bad")
        pod = self.kubelet.run(eventually(lambda: self.user.status("bad")["jobName"]))
        self.user.phase("Running", "bad")
        error = {"code": "StorageUnavailable", "message": "for 60 s: no answer"}
        ended = result(self.user.status("bad"), outcome="Failed", error=error)
        self.kubelet.end(pod, 69, ended)
        self.user.phase("Failed", "bad")
        self.user.create("waits", placement={"pool": "tight"})
        optimizer = User(self.kube, NAMESPACE, OPTIMIZE_JOB)
        source = {"modelUri": "s3://models/smollm2"}
        self._end("package", optimizer, lambda status: _measured(status, optimizer), source=source)
        bundler = User(self.kube, NAMESPACE, ADAPTER_BUNDLE)
        adapters = [{"name": "one", "uri": "s3://a/one"}, {"name": "two", "uri": "s3://a/two"}]
        self._end("bundle", bundler, lambda status: _bundled(status, bundler), adapters=adapters)

    def report(self, sequence: int) -> None:
        """Another word of the run that trains."""
        search = {
            "trials": 4, "running": 1, "complete": 1, "pruned": 1, "failed": 1,
            "best": {"number": 1, "state": "Complete", "value": 0.5},
        }  # fmt: skip
        progress = {
            "stage": "Training", "step": 10 + sequence, "totalSteps": 100, "loss": 1.0 / sequence,
            "evalLoss": 1.5, "learningRate": 1e-4, "gradNorm": 0.7, "tokensPerSecond": 100,
            "samplesPerSecond": 3, "memoryBytes": 10**9,
        }  # fmt: skip
        machine = {
            "cpuPercent": 90, "gpuPercent": 80, "gpuMemoryBytes": 10**9, "dataWaitPercent": 5,
        }  # fmt: skip
        cost = {
            "count": sequence, "seconds": 1.5 * sequence, "blockedSeconds": 0.1,
            "bytes": 4096 * sequence, "lastSeconds": 1.5, "lastBytes": 4096,
        }  # fmt: skip
        usage = {
            "cpuSeconds": 10 * sequence, "gpuSeconds": 2 * sequence,
            "trainedTokens": 100 * sequence, "storedBytes": 4096 * sequence,
        }  # fmt: skip
        body = report(
            self.user, self._pod, sequence, progress=progress, machine=machine, search=search,
            checkpointCost=cost, usage=usage, evalMetrics={"accuracy": 0.5}, etaSeconds=7000,
            restarts={"failures": 1, "disruptions": 1},
            overfitting="the loss on eval rises",
        )  # fmt: skip
        assert post(self.operator, self._token, body) == 204

    def _train(self) -> None:
        limits = {"activeDeadlineSeconds": 3600}
        self.user.create(placement={"pool": "gpu", "gpus": 2}, limits=limits)
        self._pod = self.kubelet.run(eventually(lambda: self.user.status()["jobName"]))
        self.user.phase("Running")
        self._token = token(self.kube, self._pod)

    def _end(self, name: str, user: User, end: Any, **spec: Any) -> None:
        user.create(name, **spec)
        pod = self.kubelet.run(eventually(lambda: user.status(name)["jobName"]))
        self.kubelet.end(pod, 0, end(user.phase("Running", name)))
        user.phase("Complete", name)


def _measured(status: Obj, user: User) -> Obj:
    made = optimized(status, user, "package")
    return made | {"candidates": [it | {"metricDelta": -0.01} for it in made["candidates"]]}


def _bundled(status: Obj, user: User) -> Obj:
    uri = f"s3://artifacts/models/{user.namespace}/bundle/{status['revision']}"
    left_out = {"name": "two", "included": False, "code": "RankTooLarge", "message": "rank 64"}
    return {
        "revision": status["revision"], "attempt": status["attempt"], "outcome": "Succeeded",
        "adapters": [{"name": "one", "included": True}, left_out],
        "proof": {"adapters": 1, "sizeBytes": 1000, "rebuilt": 1},
        "artifact": {"uri": uri, "manifestSha256": "ef" * 32},
    }  # fmt: skip


@pytest.fixture(scope="module")
def prometheus(
    control_plane: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """One that has scraped an operator with a fleet for a while."""
    make_lease(kube, LEASE)
    make_ledgers(kube, LEASE)
    kube.create("namespaces", None, {"metadata": {"name": NAMESPACE}})
    gpus = {"nvidia.com/gpu": "64"}
    status = {"status": {"capacity": gpus, "allocatable": gpus}}
    kube.patch("nodes", None, NODE, status, "status")
    process = OperatorProcess(
        control_plane.kubeconfig,
        tmp_path_factory.mktemp("operator"),
        namespaces=NAMESPACE,
        config=CONFIG.replace("storage:", f"{GPU_POOL.strip()}\nstorage:"),
        lease=LEASE,
        environment={"LUTHIER_USAGE_SECONDS": "1"},
    )
    port = ReservedPort()  # Go's servers set SO_REUSEADDR, too
    address = f"127.0.0.1:{port.number}"
    with process as operator:
        target = [f"127.0.0.1:{operator.metrics_port}"]
        folder = tmp_path_factory.mktemp("prometheus")
        rules = FILES / "alerts.yaml"
        with Prometheus(target, folder, address=address, rules=rules) as running:
            fleet = Fleet(kube, operator)
            fleet.play()
            for sequence in range(1, 9):
                fleet.report(sequence)
                time.sleep(1)
            yield running


def _queries(path: Path) -> list[tuple[str, str]]:
    """(panel, query)."""
    return [
        (panel["title"], target["expr"])
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


def _asked(expression: str, name: str) -> str:
    values = {
        "$namespace": NAMESPACE, "$kind": RUNS[name], "$name": name, "$__range": RANGE,
    }  # fmt: skip
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    return expression


@pytest.mark.parametrize("path", DASHBOARDS, ids=[path.stem for path in DASHBOARDS])
def test_every_panel_has_data(prometheus: Prometheus, path: Path) -> None:
    of_runs = RUNS if path.stem == "luthier-run" else {"tone": ""}

    def empty() -> list[str]:
        return [
            f"{title}: {expression}"
            for title, expression in _queries(path)
            if not any(prometheus.query(_asked(expression, name)) for name in of_runs)
        ]

    def all_have() -> bool:
        without = empty()
        assert not without, without
        return True

    eventually(all_have)


@pytest.mark.parametrize("path", DASHBOARDS, ids=[path.stem for path in DASHBOARDS])
def test_every_variable_has_choices(prometheus: Prometheus, path: Path) -> None:
    variables = json.loads(path.read_text())["templating"]["list"]
    for variable in variables:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert found is not None, variable
        assert prometheus.labels(found[2], _asked(found[1], "tone")), variable


def test_every_series_of_an_alert_is_there(prometheus: Prometheus) -> None:
    there = prometheus.labels("__name__")
    named = {name for rule in ALERTS for name in re.findall(r"luthier_\w+", rule["expr"])}
    assert named <= there


def test_alerts_fire_for_the_runs_that_they_are_about(prometheus: Prometheus) -> None:
    """Those that need no time: the others are promtool's to test."""
    wanted = {"LuthierRunFailed", "LuthierRunOverfits", "LuthierStorageUnreachable"}
    eventually(lambda: wanted <= prometheus.firing() or None)
    (failed,) = prometheus.query('ALERTS{alertname="LuthierRunFailed"}')
    assert failed["metric"]["name"] == "bad"
    assert failed["metric"]["reason"] == "StorageUnavailable"


def test_what_a_panel_shows_is_what_is(prometheus: Prometheus) -> None:
    labels = f'namespace="{NAMESPACE}",kind="FineTuneJob",name="tone"'
    assert prometheus.value(f"luthier_run_step{{{labels}}}") == 18
    held = f'sum(rate(luthier_usage_gpu_seconds_total{{namespace="{NAMESPACE}",pool="gpu"}}[10s]))'
    # Two GPUs, as long as the pod runs.
    eventually(lambda: abs((prometheus.value(held) or 0) - 2) < 0.5 or None)
