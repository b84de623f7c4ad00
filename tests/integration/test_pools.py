"""Users read what pools there are, with nothing but Kubernetes' own role `view`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from integration.kube import Kube, Obj, eventually
from integration.operatorprocess import OperatorProcess
from integration.user import User

from luthier_cluster import Cluster


@pytest.fixture
def as_viewer(kube: Kube, control_plane: Cluster, namespace: str, folder: Path) -> Path:
    """A kubeconfig of a service account with the role view in its namespace."""
    kube.create("serviceaccounts", namespace, {"metadata": {"name": "viewer"}})
    binding = {
        "metadata": {"name": "viewer"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": namespace}],
    }  # fmt: skip
    root = "/apis/rbac.authorization.k8s.io/v1"
    kube.request("POST", f"{root}/namespaces/{namespace}/rolebindings", binding)
    asked = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
    answer = kube.create("serviceaccounts", namespace, asked, "viewer", "token")
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": answer["status"]["token"]}
    for context in config["contexts"]:
        context["context"]["namespace"] = namespace
    path = folder / "viewer.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def pools(kubeconfig: Path) -> list[Obj]:
    done = subprocess.run(
        [sys.executable, "-m", "luthier_cli", "pools", "-o", "json"],
        env=os.environ | {"KUBECONFIG": str(kubeconfig)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_viewer_sees_the_pools_of_the_namespace(
    operator: OperatorProcess, user: User, as_viewer: Path
) -> None:
    user.create(placement={"pool": "tight"})
    found = eventually(lambda: pools(as_viewer), 90)
    # Of `elsewhere` only the namespace nobody hears.
    assert [it["name"] for it in found] == ["cpu", "tight"]
    assert [it["name"] for it in found if it["default"]] == ["cpu"]

    def waits() -> bool:
        assert pools(as_viewer)[1]["waiting"] >= 1
        return True

    eventually(waits, 90)
