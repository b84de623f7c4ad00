"""What comes between the operator and the API server, and which namespaces it serves."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import CRDS, apply_crds, own
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess, make_lease
from integration.test_rights import install, kubeconfig_of, lease_of
from integration.user import User
from integration.wire import Wire

from luthier_cluster import Cluster

SELECTOR = "luthier.dev/serve=true"
KINDS = ("finetunejobs", "optimizejobs", "adapterbundles", "jobs", "pods")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One whose API server and kinds come and go."""
    with Cluster(own("watching"), "control-plane") as cluster:
        apply_crds(cluster)
        kube = Kube(str(cluster.kubeconfig))
        kube.create("namespaces", None, {"metadata": {"name": "team"}})
        make_lease(kube)
        yield cluster


@pytest.fixture
def somebody(cluster: Cluster) -> User:
    """A user of that cluster."""
    return User(Kube(str(cluster.kubeconfig)), "team")


@pytest.fixture
def wire(cluster: Cluster, tmp_path: Path) -> Iterator[Wire]:
    """What the operator reaches that API server by."""
    with Wire(cluster.kubeconfig, tmp_path) as wire:
        yield wire


def up(operator: OperatorProcess, resource: str, namespace: str = "") -> float | None:
    """Whether the operator says that it watches."""
    name = "luthier_operator_watch_up"
    return operator.metrics().get(f'{name}{{namespace="{namespace}",resource="{resource}"}}')


def known(operator: OperatorProcess) -> set[str]:
    """Namespace/name of the FineTuneJobs in the operator's store."""
    labels = [it for it in operator.metrics() if it.startswith("luthier_run_state{")]
    return {
        f"{_label(it, 'namespace')}/{_label(it, 'name')}"
        for it in labels
        if 'kind="FineTuneJob"' in it
    }


def _label(series: str, name: str) -> str:
    return series.split(f'{name}="')[1].partition('"')[0]


def told(operator: OperatorProcess, words: str) -> Callable[[], bool]:
    """Whether the operator's log has these words."""
    return lambda: words in operator.log.read_text()


@pytest.mark.parametrize("seconds", [0, pytest.param(75, marks=pytest.mark.faults)])
def test_a_watch_that_is_cut_misses_nothing(
    wire: Wire, somebody: User, tmp_path: Path, seconds: int
) -> None:
    a, b, c, d = (f"cut-{letter}-{seconds}" for letter in "abcd")
    with OperatorProcess(wire.kubeconfig, tmp_path) as operator:
        somebody.create(a)
        somebody.job(a)
        for name in (b, c):
            wire.reset()
            somebody.create(name)
            somebody.job(name)
        wire.cut()
        eventually(told(operator, "watch down (unreachable)"))
        time.sleep(seconds)
        assert operator.probe("healthz") == 200
        somebody.kube.delete("finetunejobs", "team", a)
        somebody.create(d)
        wire.mend()
        somebody.job(d)
        eventually(lambda: f"team/{a}" not in known(operator))
        eventually(lambda: all(up(operator, it) == 1 for it in KINDS))
        lists = operator.metrics()
        # From where each watch was: nothing had to be listed again.
        assert all(
            lists[f'luthier_operator_watch_lists_total{{resource="{it}"}}'] == 1 for it in KINDS
        )


def test_a_watch_that_tells_nothing_is_given_up(
    wire: Wire, somebody: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    quick = "from luthier_operator import cluster\ncluster.SILENCE_SECONDS = 3.0\n"
    (site / "sitecustomize.py").write_text(quick)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{os.environ.get('PYTHONPATH', '')}")
    with OperatorProcess(wire.kubeconfig, tmp_path) as operator:
        wire.hold()
        somebody.create("silent")
        eventually(told(operator, "watch silent"))
        wire.mend()
        somebody.job("silent")


def test_a_version_that_is_too_old_is_listed_anew(
    cluster: Cluster, wire: Wire, somebody: User, tmp_path: Path
) -> None:
    with OperatorProcess(wire.kubeconfig, tmp_path) as operator:
        somebody.create("old-a")
        somebody.create("old-b")
        somebody.job("old-b")
        eventually(lambda: {"team/old-a", "team/old-b"} <= known(operator))
        pid = operator.pid
        wire.cut()
        somebody.kube.delete("finetunejobs", "team", "old-a")
        # A new API server remembers nothing of what was before.
        cluster.kill("kube-apiserver")
        eventually(told(operator, "watch down (unreachable)"))
        cluster.start("kube-apiserver")
        user = User(Kube(str(cluster.kubeconfig)), "team")
        user.create("old-c")
        wire.mend()
        user.job("old-c")
        eventually(told(operator, "watch too old resource=finetunejobs"))
        eventually(lambda: "team/old-a" not in known(operator))
        assert (operator.running, operator.pid) == (True, pid)


def test_kinds_that_come_later(cluster: Cluster, somebody: User, tmp_path: Path) -> None:
    cluster.kubectl("delete", "-f", str(CRDS), "--wait=true")
    operator = OperatorProcess(cluster.kubeconfig, tmp_path)
    operator.start(wait=False)
    try:
        eventually(told(operator, "watch down (absent) resource=finetunejobs"), 120)
        assert (operator.probe("healthz"), operator.probe("readyz")) == (200, 503)
        apply_crds(cluster)
        operator.wait_ready(120)
        somebody.create("late")
        somebody.job("late")
    finally:
        operator.kill(signal.SIGTERM)


def test_one_namespace_goes_and_the_others_go_on(
    control_plane: Cluster,
    kube: Kube,
    namespace: str,
    shared_operator: OperatorProcess,
    tmp_path: Path,
) -> None:
    if shared_operator.running:
        shared_operator.kill(signal.SIGTERM)  # that one serves all
    system, doomed, later = f"{namespace}-system", f"{namespace}-doomed", f"{namespace}-later"
    for name in (system, doomed):
        kube.create("namespaces", None, {"metadata": {"name": name}})
    install(control_plane, tmp_path, system, [namespace, doomed])
    credentials = kubeconfig_of(control_plane, kube, tmp_path, system)
    # One that is named, and isn't there yet.
    served = ",".join((namespace, doomed, later))
    user = User(kube, namespace)
    lease = lease_of(kube, system)
    with OperatorProcess(credentials, tmp_path, namespaces=served, lease=lease) as operator:
        assert up(operator, "finetunejobs", later) == 0
        User(kube, doomed).create("tone")
        job = User(kube, doomed).job("tone")["metadata"]["name"]
        user.create("before")
        user.job("before")
        kubelet = Kubelet(kube, doomed)
        kubelet.alive(job)
        kube.delete("namespaces", None, doomed)
        # A namespace's pods go first, and each waits for its node.
        eventually(lambda: "deletionTimestamp" in kubelet.pods(job)[0]["metadata"])
        kubelet.finish_deletions(job)
        eventually(lambda: f"{doomed}/tone" not in known(operator), 60)
        user.create("during")
        user.job("during")
        # Started anew it finds no rights there, and is ready all the same.
        operator.kill(signal.SIGKILL)
        operator.start()
        eventually(lambda: up(operator, "finetunejobs", doomed) == 0)
        assert up(operator, "finetunejobs", namespace) == 1
        user.create("after")
        user.job("after")
        log = operator.log.read_text()
        assert log.count(f"watch down (forbidden) resource=jobs namespace={later}") == 2
        # With a namespace and a right it is served.
        kube.create("namespaces", None, {"metadata": {"name": later}})
        bind(control_plane, kube, later, system)
        User(kube, later).create("late")
        eventually(lambda: User(kube, later).jobs("late"), 75)
        # Without the right it waits, alone, and goes on with it.
        control_plane.kubectl("-n", later, "delete", "rolebinding", "luthier-operator")
        User(kube, later).create("unbound")
        eventually(told(operator, f"retry kind=FineTuneJob namespace={later} name=unbound"))
        user.create("beside")
        user.job("beside")
        assert not User(kube, later).jobs("unbound")
        bind(control_plane, kube, later, system)
        User(kube, later).job("unbound")


def bind(cluster: Cluster, kube: Kube, namespace: str, system: str) -> None:
    """The RoleBinding of docs/platform.md that a tenant's folder holds."""
    (account,) = [
        it["metadata"]["name"]
        for it in kube.list("serviceaccounts", system)
        if it["metadata"]["name"] != "default"
    ]
    words = f"create rolebinding luthier-operator --clusterrole={account}-operator"
    subject = f"--serviceaccount={system}:{account}"
    cluster.kubectl("-n", namespace, *words.split(), subject)


def label(kube: Kube, namespace: str, value: str | None) -> None:
    """Set or take away what the selector looks at."""
    changes: Obj = {"metadata": {"labels": {"luthier.dev/serve": value}}}
    kube.patch("namespaces", None, namespace, changes)


def test_namespaces_by_their_labels(
    control_plane: Cluster,
    kube: Kube,
    namespace: str,
    shared_operator: OperatorProcess,
    tmp_path: Path,
) -> None:
    if shared_operator.running:
        shared_operator.kill(signal.SIGTERM)
    system, second = f"{namespace}-system", f"{namespace}-second"
    for name in (system, second):
        kube.create("namespaces", None, {"metadata": {"name": name}})
    install(control_plane, tmp_path, system, [], selector=SELECTOR)
    credentials = kubeconfig_of(control_plane, kube, tmp_path, system)
    label(kube, namespace, "true")
    bind(control_plane, kube, namespace, system)
    first_user, second_user = User(kube, namespace), User(kube, second)
    lease = lease_of(kube, system)
    with OperatorProcess(credentials, tmp_path, selector=SELECTOR, lease=lease) as operator:
        first_user.create("tone")
        first_user.job("tone")
        second_user.create("mood")
        # The label comes before the right: no other tenant waits for it.
        label(kube, second, "true")
        eventually(told(operator, f"watch down (forbidden) resource=jobs namespace={second}"))
        first_user.create("more")
        first_user.job("more")
        bind(control_plane, kube, second, system)
        second_user.job("mood")
        # A namespace that isn't selected any more is left alone.
        label(kube, second, None)
        eventually(lambda: f"{second}/mood" not in known(operator))
        assert up(operator, "jobs", second) is None
        second_user.create("ignored")
        first_user.create("still")
        first_user.job("still")
        assert not second_user.jobs("ignored")
        label(kube, second, "true")
        second_user.job("ignored")
        assert operator.kill(signal.SIGTERM) < 3
