"""`luthier rerun`: the same once more."""

from typing import Annotated

import typer

from luthier_cli.commands.console import say, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace


def rerun(
    name: Name,
    stop: Annotated[
        bool, typer.Option("--stop", help="A run that goes on gives way to the new one.")
    ] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make the result of the same spec anew, in a revision of its own; the older one stays.

    [dim]luthier rerun tone && luthier watch tone[/]
    """
    with told_errors():
        from luthier_cli import rerun as command
        from luthier_cli.kube import connect
        from luthier_cli.target import parse_target

        target = parse_target(name)
        cluster = connect(kubeconfig, context, namespace)
        command.rerun(cluster, target, stop=stop)
        say(f"{name} is made anew; follow it: luthier watch {name} -n {cluster.namespace}")
