"""`luthier pools`: where runs of a namespace may go, and how full it is there."""

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Namespace, Output, OutputFormat


def pools(
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the pools that the namespace may use: GPUs, runs, queue, limits. * is the default.

    What placement.pool may say. As the operator told it, half a minute ago at most.

    [dim]luthier pools -n team-a[/]
    """
    with told_errors():
        from luthier_cli import pools as command
        from luthier_cli.kube import connect

        found = command.fetch(connect(kubeconfig, context, namespace))
        if output is Output.json:
            print_json(command.to_json(found), indent=2)
        else:
            stdout().print(command.render(found), crop=False)
