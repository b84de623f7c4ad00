"""The command line: `python -m luthier_cluster COMMAND`."""

from __future__ import annotations

import argparse
import subprocess
import time

from . import binaries, processes, record, supervise
from .cluster import Cluster
from .errors import ClusterError
from .output import say

DESCRIPTION = """\
A real Kubernetes and an S3 on this machine, for the demo and the tests. It needs root,
Debian's package manager and Go; it needs neither Docker nor an image registry.

flavours:
  full            all of it: pods run (about 1.3 GiB of memory)
  control-plane   API server, controllers, scheduler and S3, but no node: up in seconds
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="luthier_cluster",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="demo", help="which cluster (default: %(default)s)")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, parents=[named])

    up = command("up", "start it, or what of it doesn't run; may be repeated and interrupted")
    up.add_argument("--flavour", choices=record.FLAVOURS, default="full")
    down = command("down", "take it down with everything in it: pods, objects, buckets, logs")
    down.add_argument("--all", action="store_true", help="every cluster on this machine")
    status = command("status", "what runs, with how much memory (exit 1: not all)")
    status.add_argument("--all", action="store_true", help="every cluster on this machine")
    logs = command("logs", "the last lines of a component's log, or of each")
    logs.add_argument("component", nargs="?", help="e.g. kubelet, kube-apiserver, s3")
    logs.add_argument("-n", "--lines", type=int, default=50, help="(default: %(default)s)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as the log grows")
    command("kubeconfig", "print the path of the administrator's kubeconfig")
    command("env", 'print export lines for a shell: eval "$(… env)" (kubectl, helm, S3)')
    command("tools", "build kubectl and helm; print the folder to put on PATH")
    return top


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(COMMANDS[options.command](options) or 0)
    except KeyboardInterrupt:
        say("interrupted: `up` goes on from here, `down` cleans up")
        return 130
    except (ClusterError, OSError, ValueError) as error:
        say(f"error: {error}")
        return 1


def _up(options: argparse.Namespace) -> None:
    began = time.monotonic()
    cluster = Cluster(options.name, options.flavour)
    cluster.up()
    say(f"up after {time.monotonic() - began:.1f} s; kubeconfig: {cluster.kubeconfig}")


def _down(options: argparse.Namespace) -> None:
    for name in record.names() if options.all else [options.name]:
        Cluster(name).down()


def _status(options: argparse.Namespace) -> int:
    names = record.names() if options.all else [options.name]
    return max([_status_of(Cluster(name)) for name in names], default=0)


def _status_of(cluster: Cluster) -> int:
    layout = cluster.layout
    print(f"{cluster.name} ({cluster.flavour})  API {layout.api_server}  S3 {layout.s3_endpoint}")
    print(f"  {'COMPONENT':<26}{'STATE':<10}{'PID':>8}{'MEMORY':>12}")
    missing = 0
    for name in cluster.components:
        process = supervise.running(layout, name)
        if process is None:
            missing += 1
            print(f"  {name:<26}{'stopped':<10}{'-':>8}{'-':>12}")
        else:
            memory = f"{processes.memory_mib(process):.0f} MiB"
            print(f"  {name:<26}{'running':<10}{process.pid:>8}{memory:>12}")
    return 1 if missing else 0


def _logs(options: argparse.Namespace) -> int:
    cluster = Cluster(options.name)
    if options.follow:
        file = supervise.log_file(cluster.layout, options.component or "kube-apiserver")
        tail = ["tail", "-n", str(options.lines), "-F", str(file)]
        return subprocess.run(tail, check=False).returncode
    if options.component:
        print(cluster.logs(options.component, options.lines))
        return 0
    for name in cluster.components:
        print(f"==> {name}\n{cluster.logs(name, options.lines)}\n")
    return 0


def _kubeconfig(options: argparse.Namespace) -> None:
    print(Cluster(options.name).kubeconfig)


def _env(options: argparse.Namespace) -> None:
    cluster = Cluster(options.name)
    print(f'export PATH="{binaries.tools()}:$PATH"')
    print(f'export KUBECONFIG="{cluster.kubeconfig}"')
    print(f'export AWS_ENDPOINT_URL="{cluster.s3_endpoint}"')
    print('export AWS_REGION="us-east-1"')
    print(f'export AWS_ACCESS_KEY_ID="{cluster.s3_access_key}"')
    print(f'export AWS_SECRET_ACCESS_KEY="{cluster.s3_secret_key}"')


def _tools(_: argparse.Namespace) -> None:
    binaries.ensure(binaries.KUBERNETES)
    binaries.ensure(binaries.HELM)
    print(binaries.tools())


COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "logs": _logs,
    "kubeconfig": _kubeconfig,
    "env": _env,
    "tools": _tools,
}
