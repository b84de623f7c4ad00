"""`luthier history`: the revisions of a FineTuneJob."""

import typer

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import (
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    OutputFormat,
)


def history(
    name: Name,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the revisions: data, metrics, which one is in use, and why the others aren't.

    [dim]luthier history tone[/]
    [dim]luthier history tone -o json | jq '.[] | select(.inUse)'[/]
    """
    with told_errors():
        from luthier_cli.history import render
        from luthier_cli.kube import connect, read
        from luthier_cli.revisions import revisions_of
        from luthier_cli.target import parse_target

        target = parse_target(name)
        resource = read(connect(kubeconfig, context, namespace), target)
        revisions = revisions_of(resource)
        if output is Output.json:
            print_json([it.to_json() for it in revisions], indent=2)
        elif revisions:
            first = ((resource.get("spec") or {}).get("promote") or {}).get("metric")
            stdout().print(render(revisions, first), crop=False)
        else:
            typer.echo(f"{target.name} has no revision yet", err=True)
