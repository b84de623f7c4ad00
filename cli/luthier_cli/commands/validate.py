"""`luthier validate`: check manifests."""

from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Namespace, Output, OutputFormat
from luthier_cli.errors import Exit


def validate(
    files: Annotated[
        list[str],
        typer.Argument(help="Manifests, folders, or - for stdin.", metavar="FILE…"),
    ],
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no cluster: check with the API's own schema.")
    ] = False,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Check manifests: every mistake with file, line, field and remedy.

    A cluster's API server checks them by a dry run; nothing is stored. With
    --offline, or where no cluster is configured, the same schema and rules are
    checked here.

    Exit code: 0 valid, 1 invalid, 2 could not be checked.

    [dim]luthier validate finetunejob.yaml[/]
    [dim]helm template ./mine | luthier validate - --offline -o json[/]
    """
    with told_errors():
        from luthier_cli import offline as here
        from luthier_cli import validate as command
        from luthier_cli.kubeconfig import configured

        sources = command.read_sources(files)
        how = command.OFFLINE
        check: command.Check = here.check_document
        if not offline and configured(kubeconfig, context):
            from luthier_cli import server
            from luthier_cli.kube import connect

            cluster = connect(kubeconfig, context, namespace)
            how = f"the cluster at {cluster.server} (context {cluster.context})"
            check = server.checker(cluster)
        report = command.validate(sources, check)
        if output is Output.json:
            print_json(report.to_json(how), indent=2)
        else:
            command.show(report, how, stdout())
        raise typer.Exit(Exit.FAILED if report.findings else Exit.OK)
