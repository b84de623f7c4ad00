"""The operator with no more rights than the chart gives it."""

import json
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
import yaml
from integration.kube import Kube, Obj, eventually, now
from integration.kubelet import Kubelet
from integration.operatorprocess import ROOT, OperatorProcess
from integration.test_nodes import inner, job_set
from integration.test_progress import post, report, token
from integration.user import ADAPTER_BUNDLE, OPTIMIZE_JOB, User, published

from luthier_api.pools import CONFIG_MAP
from luthier_api.usage import ledger_name
from luthier_cluster import Cluster, binaries

APPLIED = (
    "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Lease", "Role", "RoleBinding",
    "ServiceAccount",
)  # fmt: skip


def install(
    cluster: Cluster, folder: Path, system: str, namespaces: list[str], *, selector: str = ""
) -> None:
    """Apply the service account, the rights, the Lease and the ledgers of the chart."""
    values = folder / "values.json"
    values.write_text(
        json.dumps(
            {
                "image": {"repository": "operator"},
                "trainerImage": {"repository": "trainer"},
                "rbac": {"namespaces": namespaces, "namespaceSelector": selector},
            }
        )
    )
    helm = binaries.ensure(binaries.HELM)
    chart = ROOT / "charts" / "luthier"
    options = f"--namespace {system} --kube-version 1.34.4 --values {values}".split()
    done = subprocess.run(
        [helm, "template", system, chart, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    objects = [obj for obj in yaml.safe_load_all(done.stdout) if obj and obj["kind"] in APPLIED]
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(objects))


def kubeconfig_of(cluster: Cluster, kube: Kube, folder: Path, system: str) -> Path:
    """Credentials of the operator's service account, as its pod has them."""
    (account,) = [
        it["metadata"]["name"]
        for it in kube.list("serviceaccounts", system)
        if it["metadata"]["name"] != "default"
    ]
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    answer = kube.create("serviceaccounts", system, request, account, "token")
    config: Obj = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": answer["status"]["token"]}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _goes_with_its_job(kube: Kube, namespace: str, name: str) -> bool:
    owners = kube.get("configmaps", namespace, name)["metadata"]["ownerReferences"]
    return [owner["kind"] for owner in owners] == ["Job"]


def lease_of(kube: Kube, system: str) -> tuple[str, str]:
    """Namespace and name of the chart's Lease."""
    [name] = [it["metadata"]["name"] for it in kube.list("leases", system)]
    return system, name


def _started(user: User) -> bool:
    return "Started" in user.events()


def several_nodes(user: User, kubelet: Kubelet) -> None:
    """All that is done with a JobSet: made, read, changed, and deleted."""
    user.create("wide", placement={"nodes": 2})
    job = inner(user, "wide")
    kubelet.run(job, 0)
    kubelet.run(job, 1)
    user.phase("Running", "wide")
    user.change("wide", suspend=True)
    eventually(lambda: job_set(user, "wide")["spec"]["suspend"])
    user.change("wide", training={"maxSteps": 7})
    eventually(lambda: "deletionTimestamp" in job_set(user, "wide")["metadata"])


@pytest.mark.parametrize("mode", ["cluster", "namespaces"])
def test_a_whole_run_with_the_charts_rights(
    control_plane: Cluster,
    kube: Kube,
    namespace: str,
    shared_operator: OperatorProcess,
    job_sets: None,
    tmp_path: Path,
    mode: str,
) -> None:
    if shared_operator.running:
        shared_operator.kill(signal.SIGTERM)  # that one is an administrator
    system = f"system-{mode}"
    kube.create("namespaces", None, {"metadata": {"name": system}})
    served = [namespace] if mode == "namespaces" else []
    install(control_plane, tmp_path, system, served)
    credentials = kubeconfig_of(control_plane, kube, tmp_path, system)
    user, kubelet = User(kube, namespace), Kubelet(kube, namespace)
    process = OperatorProcess(
        credentials,
        tmp_path,
        namespaces=",".join(served),
        lease=lease_of(kube, system),
        environment={"LUTHIER_USAGE_SECONDS": "1"},
    )
    with process as operator:
        # A run spec too long for an annotation, so that its ConfigMap is made as well.
        template = "{text}: {label}" + "🎻" * 65_000
        user.create(
            dataset={"uri": "s3://data/a.jsonl", "template": template, "evalFraction": 0.1},
            limits={"ttlSecondsAfterFinished": 100},
        )
        name = user.job()["metadata"]["name"]
        assert kube.get("configmaps", namespace, name)["data"]["runspec.json"]
        eventually(partial(_goes_with_its_job, kube, namespace, name))
        pod = kubelet.run(name)
        status = user.phase("Running")
        assert post(operator, token(kube, pod), report(user, pod)) == 204
        user.change(suspend=True)
        eventually(lambda: "deletionTimestamp" in kubelet.pods(name)[0]["metadata"])
        kubelet.finish_deletions(name)
        user.sees("Suspended", "True")
        user.change(suspend=False)
        kubelet.end(kubelet.run(name), 0, published(status, user))
        user.phase("Complete")
        eventually(lambda: user.job()["spec"].get("ttlSecondsAfterFinished") == 100)
        user.change(training={"maxSteps": 5}, storage={"serviceAccountName": "nobody"})
        user.sees("Scheduled", "False", "ServiceAccountNotFound")
        user.change(training={"maxSteps": 6})
        eventually(lambda: user.status()["revision"].startswith("r3-"))
        eventually(lambda: "Completed" in user.events())
        # The other kinds, with owner references and status writes of their own.
        source = {"modelUri": "s3://models/smollm2"}
        adapters = [{"name": "tone", "uri": "s3://adapters/tone"}]
        optimizer = User(kube, namespace, OPTIMIZE_JOB)
        bundler = User(kube, namespace, ADAPTER_BUNDLE)
        optimizer.create(source=source)
        bundler.create(adapters=adapters)
        for other in (optimizer, bundler):
            pod = kubelet.run(other.job()["metadata"]["name"])
            other.phase("Running")
            assert post(operator, token(kube, pod), report(other, pod)) == 204
        for other in (optimizer, bundler):
            eventually(partial(_started, other))
        several_nodes(user, kubelet)
        ledger = ledger_name(lease_of(kube, system)[1], now()[:7])
        eventually(lambda: kube.get("configmaps", system, ledger)["binaryData"])
        eventually(lambda: kube.get("configmaps", namespace, CONFIG_MAP)["data"], 60)
        log = operator.log.read_text()
        assert "orbidden" not in log, log
