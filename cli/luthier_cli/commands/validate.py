"""`luthier validate`: check manifests."""

from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Namespace, Output, OutputFormat
from luthier_cli.errors import Exit


def validate(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Manifests, folders, or - for stdin.", metavar="FILE…"),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            "--platform",
            help="luthier.yaml, or its ConfigMap, or -: checked too, and what it allows of FILE….",
            metavar="FILE",
        ),
    ] = None,
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
    checked here. With --platform, so is what that luthier.yaml doesn't allow: pools,
    queues, durations, and what resources of their namespace may name.

    Exit code: 0 valid, 1 invalid, 2 could not be checked.

    [dim]luthier validate finetunejob.yaml[/]
    [dim]luthier validate --platform luthier.yaml -n team-a finetunejob.yaml[/]
    [dim]helm template ./mine | luthier validate - --offline -o json[/]
    """
    if not files and platform is None:
        raise typer.BadParameter("name manifests, or --platform", param_hint="FILE…")
    with told_errors():
        from luthier_cli import allowed, platformfile
        from luthier_cli import offline as here
        from luthier_cli import validate as command
        from luthier_cli.kubeconfig import configured

        sources = command.read_sources(files or ())
        how, where = command.OFFLINE, namespace or allowed.DEFAULT_NAMESPACE
        check: command.Check = here.check_document
        if files and not offline and configured(kubeconfig, context):
            from luthier_cli import server
            from luthier_cli.kube import connect

            cluster = connect(kubeconfig, context, namespace)
            how = f"the cluster at {cluster.server} (context {cluster.context})"
            where = cluster.namespace
            check = server.checker(cluster)
        rules, wrong = None, command.Report()
        if platform is not None:
            file, text = command.read_source(platform)
            read, findings = platformfile.read(file, text)
            rules = allowed.Rules(read, where) if read else None
            wrong = command.Report(checked=[(file, platformfile.NAME)], findings=findings)
            if rules and files:
                how += f", and {file} (namespace {where} where a manifest names none)"
        report = wrong + command.validate(sources, check, rules)
        if output is Output.json:
            print_json(report.to_json(how), indent=2)
        else:
            command.show(report, how, stdout())
        raise typer.Exit(Exit.FAILED if report.findings else Exit.OK)
