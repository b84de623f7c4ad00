"""The chart's life on a real cluster: install, upgrade, uninstall, and its two ways of rights.

On a cluster of its own, since an uninstall and a changed CRD are everybody's. Runs are
pods that sleep: what is tested is what happens to them.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import own
from e2e.runs import Json, Run, eventually

from luthier_api.customresources import UNSEEN
from luthier_api.usage import ledger_name
from luthier_cluster import Cluster
from luthier_cluster.commands import CommandError
from luthier_demo import install

OPERATOR = "system:serviceaccount:luthier-system:luthier"
SPEC: Json = {
    "model": {"uri": "s3://models/any"},
    "task": "generation",
    "dataset": {"uri": "s3://datasets/any.jsonl", "template": "{text}", "evalFraction": 0.1},
    "method": {"type": "lora"},
    "training": {"maxSteps": 10},
    "output": {"uri": "s3://artifacts/models"},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """LUTHIER_TEST_CHART_CLUSTER names one to reuse and keep."""
    kept = os.environ.get("LUTHIER_TEST_CHART_CLUSTER")
    cluster = Cluster(kept or own("chart"))
    try:
        cluster.up()
        for namespace in (install.NAMESPACE, "team-a", "team-b"):
            restricted(cluster, namespace)
        yield cluster
    finally:
        if not kept:
            cluster.down()


def restricted(cluster: Cluster, name: str) -> None:
    """A namespace that refuses every pod above the restricted level; the tenants' hold a Secret."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    secret = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    items: list[Json] = [
        {"kind": "Namespace", "metadata": {"name": name, "labels": level}},
        {
            "kind": "Secret",
            "metadata": {"name": "luthier-s3", "namespace": name},
            "stringData": secret,
        },
    ]
    document = {"kind": "List", "items": [{"apiVersion": "v1", **item} for item in items]}
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", **document}))


@pytest.fixture(scope="module")
def tag(cluster: Cluster) -> str:
    return install.operator_image(cluster)


@pytest.fixture
def values(cluster: Cluster, tag: str) -> Json:
    """A pool whose pods sleep in the operator's image, which is on the node."""
    pool = {
        "name": "cpu",
        "image": tag,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "exec sleep 900"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "terminationGracePeriodSeconds": 5,
    }
    return install.values(cluster, tag, [pool])


@pytest.fixture
def run(cluster: Cluster) -> Iterator[Callable[[str, str], Run]]:
    """Applies a FineTuneJob by namespace and name; all are gone after the test."""

    def make(namespace: str, name: str) -> Run:
        made = Run(cluster, namespace, name, None, SPEC)
        made.apply()
        return made

    yield make
    for namespace in ("team-a", "team-b"):
        cluster.kubectl("-n", namespace, "delete", "ftj", "--all", "--timeout=60s", within=90)


@pytest.fixture(autouse=True)
def no_release_before(cluster: Cluster) -> None:
    if install.RELEASE in helm(cluster, "list", "--short"):
        helm(cluster, "uninstall", install.RELEASE, "--wait")


def helm(cluster: Cluster, *words: str) -> str:
    return install.helm(cluster, "--namespace", install.NAMESPACE, *words)


def read(cluster: Cluster, namespace: str, *what: str) -> Json:
    found: Json = json.loads(cluster.kubectl("-n", namespace, "get", *what, "-o", "json").stdout)
    return found


def operator_log(cluster: Cluster) -> str:
    """Of all replicas."""
    words = ("logs", "-l", "app.kubernetes.io/name=luthier", "--tail=-1")
    return cluster.kubectl("-n", install.NAMESPACE, *words).stdout


def operator_pods(cluster: Cluster) -> list[Json]:
    """Those that aren't about to end."""
    pods = read(cluster, install.NAMESPACE, "pods")["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def operator_metrics(cluster: Cluster) -> str:
    """Of all replicas: one of them leads, and shows the runs."""
    path = f"/api/v1/namespaces/{install.NAMESPACE}/pods/{{}}:8080/proxy/metrics"
    names = [pod["metadata"]["name"] for pod in operator_pods(cluster)]
    return "".join(cluster.kubectl("get", "--raw", path.format(name)).stdout for name in names)


def children(one: Run, kind: str) -> list[Json]:
    """A run's Jobs or pods, without those of earlier tests that are still being removed."""
    return one.api.list(kind, one.namespace, f"?labelSelector=luthier.dev/name={one.name}")


def running_pod(one: Run) -> Json:
    def probe() -> Json | None:
        pods = children(one, "pods")
        return next((pod for pod in pods if pod["status"]["phase"] == "Running"), None)

    return eventually(f"{one.name} has a running pod", probe, within=90)


def traces(one: Run) -> tuple[str, str, Any, Any]:
    """What an operator that starts a run anew would change."""
    pod = running_pod(one)
    (job,) = children(one, "jobs")
    status = eventually("a revision", lambda: one.status if "revision" in one.status else None, 30)
    return job["metadata"]["uid"], pod["metadata"]["uid"], status["revision"], status["attempt"]


def test_installs_into_a_restricted_namespace_and_works(
    cluster: Cluster, values: Json, run: Callable[[str, str], Run]
) -> None:
    install.install(cluster, values)
    deployment = read(cluster, install.NAMESPACE, "deployment", "luthier")
    assert deployment["status"]["readyReplicas"] == 2

    one = run("team-a", "first")
    running_pod(one)
    eventually("a phase", lambda: one.status.get("phase"), within=30)

    metrics = f"/api/v1/namespaces/{install.NAMESPACE}/services/luthier:metrics/proxy/metrics"
    assert "luthier_operator_leader" in cluster.kubectl("get", "--raw", metrics).stdout
    scraped = operator_metrics(cluster)
    assert scraped.count("\nluthier_operator_leader 1.0\n") == 1
    assert scraped.count("\nluthier_operator_leader 0.0\n") == 1
    assert "luthier_run_state{" in scraped
    assert 'name="first"' in scraped
    log = operator_log(cluster)
    assert "forbidden" not in log.lower(), log
    containers = [it for pod in operator_pods(cluster) for it in pod["status"]["containerStatuses"]]
    assert [it["restartCount"] for it in containers] == [0, 0]


def test_an_upgrade_carries_a_crd_change_and_leaves_a_running_job_alone(
    cluster: Cluster, values: Json, run: Callable[[str, str], Run], tmp_path: Path
) -> None:
    install.install(cluster, values)
    one = run("team-a", "long")
    before = traces(one)
    operators_before = {pod["metadata"]["uid"] for pod in operator_pods(cluster)}

    chart = tmp_path / "luthier"
    shutil.copytree(install.CHART, chart)
    add_optional_field(chart / "templates/crds.yaml", "note")
    values["luthier"]["progressIntervalSeconds"] = 7  # new pods of the operator as well
    install_chart(cluster, chart, values, tmp_path)

    # Helm waits for the new ones alone.
    cluster.kubectl(
        "-n", install.NAMESPACE, "rollout", "status", "deploy/luthier", "--timeout=60s", within=70
    )
    operators = {pod["metadata"]["uid"] for pod in operator_pods(cluster)}
    assert len(operators) == 2
    assert not operators & operators_before
    explained = cluster.kubectl("explain", "finetunejob.spec.note").stdout
    assert "Added by an upgrade" in explained
    # The new operator has seen the run: it counts its state.
    eventually(
        "the new operator's series of the run",
        lambda: 'name="long"' in operator_metrics(cluster),
        within=30,
    )
    assert traces(one) == before
    # The new field is accepted, kept, and shapes no result.
    one.kubectl("patch", "ftj", "long", "--type=merge", "-p", '{"spec":{"note":"hello"}}')
    generation = one.get()["metadata"]["generation"]
    eventually(
        "the new generation observed",
        lambda: one.status.get("observedGeneration") == generation,
        within=30,
    )
    assert one.get()["spec"]["note"] == "hello"
    assert traces(one) == before


def test_uninstall_keeps_crds_resources_and_runs(
    cluster: Cluster, values: Json, run: Callable[[str, str], Run]
) -> None:
    install.install(cluster, values)
    one = run("team-a", "kept")
    before = traces(one)

    helm(cluster, "uninstall", install.RELEASE, "--wait")
    left = cluster.kubectl(
        "get", "deploy,service,configmap,serviceaccount,networkpolicy,pdb,lease,role,"
        "rolebinding,clusterrole,clusterrolebinding",
        "-A", "-l", "app.kubernetes.io/part-of=luthier", "-o", "name",
    ).stdout.split()  # fmt: skip
    # What was used stays to be charged, and the next installation goes on from it.
    months = [f"2026-{month:02}" for month in range(1, 13)]
    assert left == [f"configmap/{ledger_name(install.RELEASE, month)}" for month in months]
    assert len(cluster.kubectl("get", "crd", "-o", "name").stdout.split()) == 3
    assert traces(one) == before

    install.install(cluster, values)
    assert traces(one) == before


def test_per_namespace_mode_serves_and_reads_only_there(
    cluster: Cluster, values: Json, run: Callable[[str, str], Run]
) -> None:
    install.install(cluster, values | {"rbac": {"namespaces": ["team-a"]}})

    def may(verb: str, what: str, *where: str) -> bool:
        asked = cluster.kubectl(
            "auth", "can-i", verb, what, *where, "--as", OPERATOR, check=False
        ).stdout
        return asked.strip() == "yes"

    assert may("list", "finetunejobs.luthier.dev", "-n", "team-a")
    assert may("create", "jobs.batch", "-n", "team-a")
    assert may("create", "tokenreviews.authentication.k8s.io")
    for where in (["-n", "team-b"], ["-n", install.NAMESPACE], ["-A"]):
        assert not may("list", "finetunejobs.luthier.dev", *where)
        assert not may("create", "jobs.batch", *where)
        assert not may("list", "pods", *where)
    for where in (["-n", "team-a"], ["-n", "team-b"], ["-A"]):
        assert not may("get", "secrets", *where)
        assert not may("list", "secrets", *where)

    served = run("team-a", "served")
    ignored = run("team-b", "ignored")
    running_pod(served)
    eventually("a phase", lambda: served.status.get("phase"), within=30)
    assert ignored.status == UNSEEN
    assert children(ignored, "jobs") == []
    log = operator_log(cluster)
    assert "forbidden" not in log.lower(), log


def test_the_roles_of_people(cluster: Cluster, values: Json) -> None:
    install.install(cluster, values)
    for level in ("view", "edit", "admin"):
        binding = ("create", "rolebinding", level, "-n", "team-a", f"--clusterrole={level}")
        cluster.kubectl(*binding, f"--user={level}", check=False)

    def may(user: str, verb: str, where: str = "team-a") -> bool:
        words = ("auth", "can-i", verb, "finetunejobs.luthier.dev", "-n", where, "--as", user)
        return cluster.kubectl(*words, check=False).stdout.strip() == "yes"

    # Kubernetes takes a moment to sum up aggregated roles.
    eventually("the aggregation", lambda: may("view", "list"), within=15)
    assert not may("view", "create")
    eventually("the aggregation", lambda: may("edit", "create"), within=15)
    assert may("admin", "delete")
    assert not may("edit", "create", "team-b")


def test_a_wrong_value_installs_nothing(cluster: Cluster, values: Json, tmp_path: Path) -> None:
    values["luthier"]["pools"][0]["nodes"] = 3
    with pytest.raises(CommandError, match="'nodes' not allowed"):
        install_chart(cluster, install.CHART, values, tmp_path)
    assert read(cluster, install.NAMESPACE, "deployments")["items"] == []


def install_chart(cluster: Cluster, chart: Path, values: Json, folder: Path) -> None:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    helm(cluster, "upgrade", "--install", install.RELEASE, str(chart), "--values", str(file),
         "--wait", "--timeout", "120s")  # fmt: skip


def add_optional_field(template: Path, name: str) -> None:
    """Puts a string into the FineTuneJob's spec, as a later version of the API might."""
    field = (
        f"              {name}:\n"
        "                type: string\n"
        "                maxLength: 64\n"
        "                description: Added by an upgrade.\n"
    )
    # The template's first schema; its text is Helm's, so it isn't parsed as YAML.
    before, spec, inside = template.read_text().partition("          spec:\n")
    head, properties, rest = inside.partition("            properties:\n")
    assert properties
    template.write_text(before + spec + head + properties + field + rest)
