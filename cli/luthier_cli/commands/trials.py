"""`luthier trials`: the trials of a search."""

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace, Output, OutputFormat


def trials(
    name: Name,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the trials of a search: their settings, and what came of them.

    The best and the latest 50, as the status has them; report/search.html of the artifact has all.

    [dim]luthier trials tone[/]
    [dim]luthier trials tone -o json | jq .best.settings[/]
    """
    with told_errors():
        from luthier_cli import searchtable
        from luthier_cli import trials as command
        from luthier_cli.kube import connect
        from luthier_cli.target import parse_target

        target = parse_target(name)
        found = command.fetch(connect(kubeconfig, context, namespace), target)
        if output is Output.json:
            print_json(found, indent=2)
        else:
            stdout().print(searchtable.render(found))
