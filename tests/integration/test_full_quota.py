"""Quotas that stay full: whoever waits costs a bounded number of requests, and goes on after."""

import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from clusters import apply_crds, own
from integration.kube import Kube, Obj, eventually
from integration.kubelet import node
from integration.operatorprocess import OperatorProcess, make_lease
from integration.test_faults import _burst, _one_job_each
from integration.user import User

from luthier_cluster import Cluster
from luthier_operator.run.concurrency import LOOK_SECONDS, PROBES
from luthier_operator.run.enquiry import FIRST_SECONDS, MOST_SECONDS

RUNS = 20
QUOTAS = {"jobs": {"count/jobs.batch": "0"}, "pods": {"pods": "0"}}
_REQUESTS = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<number>\S+)$", re.M)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One whose API server nobody else asks for anything."""
    with Cluster(own("quota"), "control-plane") as cluster:
        apply_crds(cluster)
        kube = Kube(str(cluster.kubeconfig))
        make_lease(kube)
        with node(kube):
            yield cluster


def full(kube: Kube, name: str, hard: Obj) -> User:
    """Somebody in a namespace with a quota of nothing."""
    kube.create("namespaces", None, {"metadata": {"name": name}})
    kube.create("resourcequotas", name, {"metadata": {"name": "none"}, "spec": {"hard": hard}})
    eventually(lambda: kube.get("resourcequotas", name, "none")["status"]["hard"])
    return User(kube, name)


def requests(kube: Kube) -> Counter[str]:
    """What the API server has been asked for so far of what the operator alone asks for."""
    found: Counter[str] = Counter()
    for line in _REQUESTS.finditer(kube.text("/metrics")):
        labels = dict(_LABEL.findall(line["labels"]))
        of = f"{labels['verb']} {labels['resource']}"
        if of in ("POST jobs", "LIST events", "PATCH finetunejobs"):
            found[of] += int(float(line["number"]))
    return found


def looks(operator: OperatorProcess) -> float:
    """How often the operator has looked at a resource so far."""
    series = operator.metrics().items()
    return sum(number for it, number in series if it.startswith("luthier_operator_reconciles_t"))


def doubled(seconds: float, first: float, most: float) -> int:
    """How often something happens at most whose pauses double from the first to the most."""
    return math.ceil(math.log2(1 + min(seconds, 2 * most) / first) + seconds / most) + 1


def _held(user: User) -> bool:
    for it in user.kube.list(user.kind.plural, user.namespace):
        scheduled = [c["reason"] for c in it["status"]["conditions"] if c["type"] == "Scheduled"]
        assert scheduled == ["QuotaExceeded"], it["metadata"]["name"]
    return True


@pytest.mark.parametrize(
    "seconds",
    [8, pytest.param(1200, marks=[pytest.mark.faults, pytest.mark.timeout(2400)])],
    ids=["short", "long"],
)
def test_it_costs_few_requests(cluster: Cluster, tmp_path: Path, seconds: int) -> None:
    kube = Kube(str(cluster.kubeconfig))
    users = {of: full(kube, f"no-{of}-{seconds}", hard) for of, hard in QUOTAS.items()}
    with OperatorProcess(cluster.kubeconfig, tmp_path) as operator:
        names = {of: _burst(user, RUNS) for of, user in users.items()}
        for user in users.values():
            eventually(partial(_held, user), 60)
        before, looked, began = requests(kube), looks(operator), time.monotonic()
        time.sleep(seconds)
        asked, looked = requests(kube) - before, looks(operator) - looked
        passed = time.monotonic() - began
        # A few try to have a Job, for all.
        tries = PROBES * doubled(passed, 2, LOOK_SECONDS)
        assert asked["POST jobs"] <= tries, asked
        # All that have a Job without a pod ask why.
        questions = RUNS * doubled(passed, FIRST_SECONDS, MOST_SECONDS)
        assert asked["LIST events"] <= questions, asked
        # What says nothing new isn't written.
        assert asked["PATCH finetunejobs"] <= 2, asked

        assert looked <= 2 * (tries + questions), asked
        for user in users.values():
            kube.delete("resourcequotas", user.namespace, "none")
        for of, user in users.items():
            eventually(partial(_one_job_each, user, names[of]), LOOK_SECONDS + 30)
