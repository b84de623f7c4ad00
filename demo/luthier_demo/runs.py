"""A manifest, applied and watched to its end, as a user would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from luthier_api.kinds import KINDS
from luthier_cli.target import Target
from luthier_cluster import Cluster, ClusterError, binaries
from luthier_cluster.output import say
from luthier_demo import content, report

Json = dict[str, Any]


class RunFailedError(ClusterError):
    """A resource isn't complete; the message says where to look."""


def run(cluster: Cluster, manifest: Path) -> Json:
    """Apply a manifest of one resource and follow it. The resource, which is complete.

    Raises RunFailedError.
    """
    document = yaml.safe_load(manifest.read_text())
    target = Target(KINDS[document["kind"]], document["metadata"]["name"])
    namespace = document["metadata"]["namespace"]
    say(f"kubectl apply -f {manifest.relative_to(content.REPOSITORY)}")
    cluster.kubectl("apply", "-f", str(manifest))
    return _watched(cluster, target, namespace)


def retrain(cluster: Cluster, tuned: Json) -> Json:
    """Have the data of a FineTuneJob looked at, and follow what comes of it. Raises as `run`."""
    name, namespace = tuned["metadata"]["name"], tuned["metadata"]["namespace"]
    say(f"luthier retrain {name} -n {namespace}")
    luthier(cluster, "retrain", name, "-n", namespace).check_returncode()
    return _watched(cluster, Target(KINDS["FineTuneJob"], name), namespace)


def luthier(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command of this environment's `luthier`, on the cluster; it writes to the terminal."""
    program = Path(sys.prefix) / "bin" / "luthier"
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    return subprocess.run([program, *words], env=environment, check=False)


def _watched(cluster: Cluster, target: Target, namespace: str) -> Json:
    watched = luthier(cluster, "watch", target.argument, "-n", namespace, "--no-summary")
    words = ("-n", namespace, "get", target.kind.short, target.name, "-o", "json")
    resource: Json = json.loads(cluster.kubectl(*words).stdout)
    if watched.returncode != 0:
        Console().print(report.brief(resource))
        raise RunFailedError(
            f"{target} isn't complete. Look closer:\n"
            f"  {environment(cluster)}\n"
            f"  kubectl describe {target.kind.short} {target.name} -n {namespace}\n"
            f"  kubectl luthier logs {target.argument} -n {namespace}\n"
            f"To try it again: kubectl luthier retry {target.argument} -n {namespace}; make demo"
        )
    return resource


def environment(cluster: Cluster) -> str:
    """The shell command that points kubectl at the cluster."""
    path = f"{binaries.tools()}:{sys.prefix}/bin:$PATH"
    return f"export PATH={path} KUBECONFIG={cluster.kubeconfig}"
