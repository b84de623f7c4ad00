"""`luthier logs`: what a run's pods print."""

from typing import Annotated

import typer

from luthier_cli.commands.console import stderr, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace


def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on to the run's end, over restarts.")
    ] = False,
    all_attempts: Annotated[
        bool, typer.Option("--all-attempts", help="All pods that are still there, oldest first.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", help="Only the last lines; -1: all.")] = -1,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Print the logs of a run's newest pod, or of all of them.

    [dim]luthier logs tone -f[/]
    """
    with told_errors():
        from luthier_api.visible import one_line
        from luthier_cli.kube import connect
        from luthier_cli.logs import Logs
        from luthier_cli.target import parse_target

        target = parse_target(name)
        error = stderr()
        Logs(
            connect(kubeconfig, context, namespace),
            target,
            # A pod prints what is in its data, and what its user's code likes.
            write=lambda line: print(one_line(line), flush=follow),
            note=lambda text: error.print(f"── {one_line(text)}", style="dim"),
        ).show(follow=follow, all_attempts=all_attempts, tail=tail)
