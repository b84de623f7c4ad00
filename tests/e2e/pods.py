"""Pods of a tenant's on the local cluster, without Luthier."""

import json
from typing import Any

from luthier_cluster import Cluster, host_files, images
from luthier_demo.tenant import create

SECURE = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(name: str, namespace: str, command: list[str], **container: Any) -> dict[str, Any]:
    """A pod that `restricted` lets pass, with this machine's project folders in it."""
    mounts = host_files.volume_mounts(host_files.project_folders())
    main = {
        "name": "main",
        "image": images.HOST_ROOT,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": SECURE,
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],
        **container,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [main],
            "volumes": [*host_files.volumes(), {"name": "tmp", "emptyDir": {}}],
        },
    }


def apply(cluster: Cluster, *items: dict[str, Any]) -> None:
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.kubectl("apply", "--filename=-", input=manifest)


def tenant(cluster: Cluster, name: str) -> None:
    """A namespace that enforces `restricted`, with the machine's folders to mount."""
    create(cluster, name)
    where = f"--namespace={name}"
    cluster.kubectl("wait", where, "serviceaccount/default", "--for=create", "--timeout=30s")


def succeeded(cluster: Cluster, name: str, namespace: str, within: int = 120) -> str:
    """The log of a pod, once it has ended well."""
    where = f"--namespace={namespace}"
    done = "--for=jsonpath={.status.phase}=Succeeded"
    waited = cluster.kubectl(
        "wait", f"pod/{name}", where, done, f"--timeout={within}s", within=within + 30, check=False
    )
    log = cluster.kubectl("logs", name, where, check=False).stdout
    said = cluster.kubectl("describe", "pod", name, where, check=False).stdout
    assert waited.returncode == 0, f"{waited.stderr}\n{log}\n{said}"
    return log
