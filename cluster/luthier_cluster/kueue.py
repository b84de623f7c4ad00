"""Kueue on a cluster's node: built from its Go module, installed by the chart that lies in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import binaries, images, wait
from .cluster import Cluster
from .commands import run
from .errors import ClusterError
from .output import step

NAMESPACE = "kueue-system"
API_VERSION = "kueue.x-k8s.io/v1beta2"
# Only namespaces with this label: until Kueue answers, no Job can be created where it looks on.
MANAGED_LABEL = "luthier.dev/kueue"
REPOSITORY = "luthier.local/kueue"
VISIBILITY = [
    f"apiservice/{version}.visibility.kueue.x-k8s.io" for version in ("v1beta1", "v1beta2")
]

Json = dict[str, Any]


def install(cluster: Cluster) -> None:
    """Kueue on the node, ready and answering. Can be repeated.

    `ClusterError` if it doesn't get ready; `CommandError` with what Helm or Go said.
    """
    program = binaries.ensure(binaries.KUEUE)
    tag = program.name.removeprefix("kueue-")
    with step("Kueue installed, ready"):
        if f"{REPOSITORY}:{tag}" not in images.loaded(cluster.layout):
            _import(cluster, program, tag)
        _helm(cluster, values(tag))
        # An API that Kueue serves itself, to API servers set up for that. Ours isn't, and while an
        # announced API doesn't answer, no namespace can be deleted.
        cluster.kubectl("delete", "--ignore-not-found", *VISIBILITY)
        # Its webhooks are called by name a moment after its pod is ready.
        if not wait.until(lambda: _answers(cluster), within=240, every=0.5):
            raise ClusterError(
                f"Kueue's webhooks don't answer: `kubectl -n {NAMESPACE} logs deployment/"
                "kueue-controller-manager`"
            )


def image(program: bytes, tag: str) -> bytes:
    """The image that Kueue's chart runs: one static program. Pure."""
    content = images.layer({}, {}, {"manager": (program, 0o755)})
    config: dict[str, object] = {"Entrypoint": ["/manager"], "User": "65532:65532"}
    return images.docker_archive(f"{REPOSITORY}:{tag}", content, config)


def values(tag: str) -> Json:
    """The chart's values: this image, Jobs and JobSets alone. Pure."""
    return {
        "fullnameOverride": "kueue",
        "controllerManager": {
            "featureGates": [{"name": "VisibilityOnDemand", "enabled": False}],
            "manager": {
                "image": {"repository": REPOSITORY, "tag": tag, "pullPolicy": "Never"},
                "resources": {
                    "requests": {"cpu": "200m", "memory": "64Mi"},
                    "limits": {"cpu": "1", "memory": "512Mi"},
                },
            },
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1},
        },
        "managerConfig": {"controllerManagerConfigYaml": json.dumps(configuration())},
    }


def configuration() -> Json:
    """Kueue's own configuration. Pure."""
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443"},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"qps": 500, "burst": 1000},
        "managedJobsNamespaceSelector": {"matchLabels": {MANAGED_LABEL: "managed"}},
        "integrations": {"frameworks": ["batch/job", "jobset.x-k8s.io/jobset"]},
    }


def _import(cluster: Cluster, program: Path, tag: str) -> None:
    archive = cluster.layout.state / f"kueue-{tag}.tar"
    try:
        archive.write_bytes(image(program.read_bytes(), tag))
        cluster.import_image(archive)
    finally:
        archive.unlink(missing_ok=True)


def _helm(cluster: Cluster, chart_values: Json) -> None:
    file = cluster.layout.state / "kueue-values.json"
    file.write_text(json.dumps(chart_values, indent=1))
    chart = binaries.module_folder(binaries.KUEUE_MODULE) / "charts" / "kueue"
    words = f"--namespace {NAMESPACE} --create-namespace --values {file} --wait --timeout 600s"
    helm: list[str | Path] = [binaries.ensure(binaries.HELM), "--kubeconfig", cluster.kubeconfig]
    helm += ["upgrade", "--install", "kueue", chart, *words.split()]
    run(helm, within=660)


def _answers(cluster: Cluster) -> bool:
    """Whether its webhooks let an object pass that isn't made."""
    flavour = {"apiVersion": API_VERSION, "kind": "ResourceFlavor", "metadata": {"name": "probe"}}
    words = ["create", "--dry-run=server", "-f", "-"]
    return cluster.kubectl(*words, input=json.dumps(flavour), check=False).returncode == 0
