"""`luthier promote`: choose which result is in use."""

from typing import Annotated

import typer

from luthier_cli.commands.console import say, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace
from luthier_cli.errors import CliError


def promote(
    name: Name,
    revision: Annotated[
        str | None, typer.Argument(help="As `luthier history` shows it; r2 is enough.")
    ] = None,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Remove the pin: what promote.when says is in use.")
    ] = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print what to write in git, and change nothing.")
    ] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Put a result into use, whatever is newer (spec.promote.pin): a rollback, or a promotion.

    What Argo CD or Flux applies isn't changed: the lines for git are printed.

    [dim]luthier promote tone r2[/]
    [dim]luthier promote tone --unpin[/]
    """
    with told_errors():
        from luthier_cli import promote as command
        from luthier_cli.kube import connect
        from luthier_cli.target import parse_target

        if (revision is None) == (not unpin):
            raise CliError("name a revision, or --unpin", f"see them: luthier history {name}")
        target = parse_target(name)
        cluster = connect(kubeconfig, context, namespace)
        pin, instead = command.promote(cluster, target, revision, only_print=only_print)
        if instead is None:
            told = f"{pin} is pinned" if pin else "the pin is removed"
            say(f"{name}: {told}; see it: luthier history {name} -n {cluster.namespace}")
            return
        if not only_print:
            typer.echo(f"{instead} applies {name}, and would take it back: commit this", err=True)
        typer.echo(command.lines_of(pin))
