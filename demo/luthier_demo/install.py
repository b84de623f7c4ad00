"""The chart, installed on a local cluster by Helm with the operator's built image."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from luthier_cluster import Cluster, binaries, images
from luthier_cluster.commands import CommandError, run
from luthier_cluster.host_files import CLAIM, project_folders
from luthier_cluster.images import HOST_ROOT
from luthier_cluster.output import step

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "luthier"
NAMESPACE = "luthier-system"
RELEASE = "luthier"

Json = dict[str, Any]


@cache
def build_image(target: str) -> tuple[str, Path]:
    """The tag and the docker-archive of `operator` or `trainer`; built if it isn't there."""
    script = REPOSITORY / "scripts" / "images.py"
    done = subprocess.run(
        [sys.executable, script, target], stdout=subprocess.PIPE, check=True, timeout=3600
    )
    image = json.loads(done.stdout)[target]
    return image["tag"], Path(image["file"])


def mounted_pool(name: str = "cpu", memory: str = "4Gi") -> Json:
    """A pool whose pods run this checkout's virtual environment, mounted read-only: no image to
    build between an edit and a run."""
    return {
        "name": name,
        "description": "CPU only; trains with the machine's own Python environment.",
        "image": HOST_ROOT,
        "imagePullPolicy": "Never",
        "command": [f"{sys.prefix}/bin/python", "-P", "-m", "luthier_trainer"],
        "mounts": [
            {"claim": CLAIM, "mountPath": str(folder), "subPath": str(folder).lstrip("/")}
            for folder in project_folders()
        ],
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": "2", "memory": memory},
        },
        "terminationGracePeriodSeconds": 60,
        "sharedMemory": "512Mi",
    }


def image_pool(tag: str, name: str = "cpu") -> Json:
    """A pool whose pods run the built trainer image."""
    pool = mounted_pool(name)
    del pool["command"], pool["mounts"]
    return {**pool, "image": tag, "description": "CPU only; trains with the built trainer image."}


def values(cluster: Cluster, operator_tag: str, pools: list[Json], **extra: Any) -> Json:
    """The chart's values for a local cluster."""
    repository, _, tag = operator_tag.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "luthier": {
            "defaultPool": pools[0]["name"],
            "pools": pools,
            "storage": {"endpoint": cluster.s3_endpoint, "region": "us-east-1", "pathStyle": True},
            **extra,
        },
    }


def helm(cluster: Cluster, *words: str, within: float = 300) -> str:
    """Run Helm on the cluster. Raises CommandError with what Helm said."""
    return run(
        [binaries.ensure(binaries.HELM), "--kubeconfig", cluster.kubeconfig, *words], within=within
    )


def install(cluster: Cluster, chart_values: Json, namespace: str = NAMESPACE) -> None:
    """`helm upgrade --install`, and wait until the operator is ready. Can be repeated."""
    file = cluster.layout.state / "values.json"
    file.write_text(json.dumps(chart_values, indent=2))
    try:
        with step("chart installed, operator ready"):
            helm(
            cluster, "upgrade", "--install", RELEASE, str(CHART), "--namespace", namespace,
                "--create-namespace", "--values", str(file), "--wait", "--timeout", "120s",
            )  # fmt: skip
    except CommandError as error:
        selector = f"app.kubernetes.io/instance={RELEASE}"
        words = ["-n", namespace, "logs", "-l", selector, "--prefix", "--tail=20"]
        log = cluster.kubectl(*words, check=False).stdout
        raise CommandError(f"{error}\nthe operator's logs end with:\n{log}") from error


def operator_image(cluster: Cluster) -> str:
    """The operator's image, on the cluster's node. Returns its tag."""
    tag, archive = build_image("operator")
    with step("operator image on the node"):
        # The tag tells of the contents.
        if tag not in images.loaded(cluster.layout):
            cluster.import_image(archive)
    return tag
