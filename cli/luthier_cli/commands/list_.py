"""`luthier list`: the resources of a namespace, or of all."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from luthier_cli.commands import completion
from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Namespace, Output, OutputFormat


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="ftj, opj, ab, or in full. [default: all]",
            metavar="KIND",
            autocompletion=completion.kinds,
        ),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Of every namespace.")
    ] = False,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List resources, the newest first: how far each is, and what came of it.

    [dim]luthier list[/]
    [dim]luthier list opj -A[/]
    [dim]luthier list -o json | jq '.[] | select(.phase == "Failed").name'[/]
    """
    with told_errors():
        from luthier_cli.kube import connect, list_all
        from luthier_cli.listing import render, shown
        from luthier_cli.target import parse_kinds

        kinds = parse_kinds(kind)
        cluster = connect(kubeconfig, context, namespace)
        where = None if all_namespaces else cluster.namespace
        found = [it for one in kinds for it in list_all(cluster, one, where)]
        found.sort(key=lambda it: str(it["metadata"].get("creationTimestamp")), reverse=True)
        now = datetime.now(UTC)
        if output is Output.json:
            print_json([shown(it, now) for it in found], indent=2)
        elif found:
            stdout().print(render(found, now, namespaces=all_namespaces), crop=False)
        else:
            place = "any namespace" if where is None else f"the namespace {where}"
            typer.echo(f"nothing of Luthier's in {place}", err=True)
