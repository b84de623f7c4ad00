"""JobSet beside a cluster: its controller, with its webhooks, as a process."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import binaries, supervise, wait
from .cluster import Cluster
from .components import Component
from .errors import ClusterError
from .layout import Layout
from .output import step

NAME = "jobset"
GROUP, VERSION = "jobset.x-k8s.io", "v1alpha2"
CRD = f"jobsets.{GROUP}"
PORT, HEALTH_PORT = 10249, 10251
# Of all pods those of JobSets are shown to it.
OURS = {"matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]}

Json = dict[str, Any]


def start(cluster: Cluster) -> None:
    """The kind is served, and the controller makes Jobs. Can be repeated. `down` of the cluster
    ends it, too.

    `ClusterError` if it doesn't get ready; `CommandError` with what Go said.
    """
    layout = cluster.layout
    program = binaries.ensure(binaries.JOBSET)
    file = layout.config / "jobset.json"
    with step("JobSet, ready"):
        install_kind(cluster)
        certificates = _certificates(layout)
        file.write_text(json.dumps(configuration(layout.address, certificates), indent=1))
        process = Component(
            NAME,
            (str(program), f"--config={file}", f"--kubeconfig={layout.kubeconfig}"),
            f"http://{layout.address}:{HEALTH_PORT}/readyz",
        )
        supervise.start(layout, process)
        supervise.await_ready(layout, process)
        authority = (layout.credentials / "pki" / "ca.crt").read_bytes()
        hooks = {"apiVersion": "v1", "kind": "List", "items": list(webhooks(layout, authority))}
        cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(hooks))


def install_kind(cluster: Cluster) -> None:
    """Its CRD alone: JobSets can be made, and nothing comes of them."""
    folder = binaries.module_folder(binaries.JOBSET_MODULE) / "config/components/crd/bases"
    cluster.kubectl("apply", "--server-side", "-f", str(folder / f"{GROUP}_jobsets.yaml"))
    if not wait.until(lambda: _is_served(cluster), within=30, every=0.2):
        raise ClusterError(f"JobSets aren't served: `kubectl get crd {CRD} -o yaml`")


def _is_served(cluster: Cluster) -> bool:
    return cluster.kubectl("get", CRD, "--all-namespaces", check=False).returncode == 0


def configuration(address: str, certificates: Path) -> Json:
    """The controller's settings. Pure."""
    return {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"{address}:{HEALTH_PORT}"},
        "metrics": {"bindAddress": "0"},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": address, "port": PORT, "certDir": str(certificates)},
    }


def webhooks(layout: Layout, authority: bytes) -> Iterator[Json]:
    """What the API server asks of it, by its address. Pure."""
    url = f"https://{layout.address}:{PORT}"
    job_set = f"{GROUP.replace('.', '-')}-{VERSION}-jobset"
    for kind, verb, operations in (
        ("MutatingWebhookConfiguration", "mutate", ["CREATE"]),
        ("ValidatingWebhookConfiguration", "validate", ["CREATE", "UPDATE"]),
    ):
        asked: list[tuple[str, Json, list[str], Json]] = [
            (job_set, _rule(GROUP, VERSION, "jobsets"), operations, {}),
            ("-v1-pod", _rule("", "v1", "pods"), ["CREATE"], {"objectSelector": OURS}),
        ]
        yield {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": NAME},
            "webhooks": [
                {
                    "name": f"{verb}-{rule['resources'][0]}.{GROUP}",
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {
                        "url": f"{url}/{verb}-{path}",
                        "caBundle": base64.b64encode(authority).decode(),
                    },
                    "rules": [rule | {"operations": when}],
                    "sideEffects": "None",
                    **selector,
                }
                for path, rule, when, selector in asked
            ],
        }


def _rule(group: str, version: str, plural: str) -> Json:
    return {"apiGroups": [group], "apiVersions": [version], "resources": [plural]}


def _certificates(layout: Layout) -> Path:
    """The API server's, which stands for the node's address, under the names that it looks for."""
    folder = layout.credentials / NAME
    folder.mkdir(mode=0o700, exist_ok=True)
    for ending in ("crt", "key"):
        shutil.copy(layout.credentials / "pki" / f"apiserver.{ending}", folder / f"tls.{ending}")
    return folder
