"""`make demo`, `make demo-down`, and what `make test` prepares."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from rich.console import Console

from luthier_cluster import Cluster, ClusterError, binaries, packages
from luthier_cluster.commands import CommandError
from luthier_cluster.output import say, step
from luthier_demo import content, install, report, tenant

NAME = "demo"
NAMESPACE = "team-a"
MANIFEST = content.EXAMPLE / "finetunejob.yaml"
# program or file -> Debian package
BUILD_PROGRAMS = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/wordnet/data.noun": "wordnet-base",
}
TEST_PROGRAMS = {"prometheus": "prometheus", "shellcheck": "shellcheck"}
OUT = content.REPOSITORY / "out" / "demo"


def up(trainer_image: bool) -> int:
    """Everything, from nothing to the report. Returns the exit code."""
    began = time.monotonic()
    prepare()
    cluster = Cluster(NAME)
    cluster.up()
    content.put_in_s3(cluster)
    operator_tag = install.operator_image(cluster)
    pool = install.mounted_pool()
    if trainer_image:
        trainer_tag, archive = install.build_image("trainer")
        with step("trainer image on the node"):
            cluster.import_image(archive)
        pool = install.image_pool(trainer_tag)
    install.install(cluster, install.values(cluster, operator_tag, [pool]))
    tenant.create(cluster, NAMESPACE)
    name = yaml.safe_load(MANIFEST.read_text())["metadata"]["name"]
    say(f"kubectl apply -f {MANIFEST.relative_to(content.REPOSITORY)}")
    cluster.kubectl("apply", "-f", str(MANIFEST))
    watched = subprocess.run(
        [Path(sys.prefix) / "bin" / "luthier", "watch", name, "-n", NAMESPACE, "--no-summary"],
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        check=False,
    )
    if watched.returncode != 0:
        say(f"look closer: {environment(cluster)}; kubectl -n {NAMESPACE} describe ftj {name}")
        return watched.returncode
    show_report(cluster, name)
    say(f"make demo: {time.monotonic() - began:.0f} s")
    return 0


def environment(cluster: Cluster) -> str:
    """The shell command that points kubectl at the cluster."""
    path = f"{binaries.tools()}:{sys.prefix}/bin:$PATH"
    return f"export PATH={path} KUBECONFIG={cluster.kubeconfig}"


def show_report(cluster: Cluster, name: str) -> None:
    """Fetch the run's report and print it."""
    found = cluster.kubectl("-n", NAMESPACE, "get", "ftj", name, "-o", "json").stdout
    next_commands = [
        environment(cluster),
        f"kubectl get ftj -n {NAMESPACE} -o wide",
        f"kubectl describe ftj {name} -n {NAMESPACE}",
        "kubectl explain ftj.spec.training",
        f"kubectl luthier logs {name} -n {NAMESPACE}",
        "make demo-down",
    ]
    s3 = content.s3_client(cluster)
    found_report = report.report(s3, json.loads(found), OUT, next_commands)
    Console().print(found_report, crop=False)


def prepare(for_tests: bool = False) -> None:
    """Packages, programs, image, model and data: all that can be made ahead of a cluster."""
    packages.ensure("full")
    packages.ensure_programs(BUILD_PROGRAMS | (TEST_PROGRAMS if for_tests else {}))
    for binary in (binaries.KUBERNETES, binaries.COREDNS, binaries.PAUSE, binaries.HELM):
        binaries.ensure(binary)
    install.build_image("operator")
    content.model()
    content.dataset()


def main() -> int:
    parser = argparse.ArgumentParser(prog="luthier_demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    upping = commands.add_parser("up", help="run the demo")
    upping.add_argument("--trainer-image", action="store_true", help="train in the built image")
    commands.add_parser("down", help="take the demo's cluster down")
    preparing = commands.add_parser("prepare", help="make what needs no cluster")
    preparing.add_argument("--for-tests", action="store_true", help="and what the tests need")
    chosen = parser.parse_args()
    try:
        match chosen.command:
            case "up":
                return up(chosen.trainer_image)
            case "down":
                Cluster(NAME).down()
            case _:
                prepare(chosen.for_tests)
    except (ClusterError, CommandError, subprocess.SubprocessError) as error:
        say(f"\nfailed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; `make demo` goes on from here, `make demo-down` takes all down")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
