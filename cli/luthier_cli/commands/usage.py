"""`luthier usage`: what runs have used, to charge it back."""

from enum import StrEnum
from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig


class UsageOutput(StrEnum):
    """How it is written."""

    text = "text"
    json = "json"
    csv = "csv"


def usage(
    since: Annotated[
        str | None,
        typer.Option("--since", help="Days or weeks, today among them.", metavar="30d"),
    ] = None,
    month: Annotated[
        str | None, typer.Option("--month", help="A whole month.", metavar="YYYY-MM")
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", help="namespace, pool, kind, user, day; several: namespace,user."),
    ] = "namespace",
    output: Annotated[
        UsageOutput, typer.Option("--output", "-o", help="text for people, json and csv beside.")
    ] = UsageOutput.text,
    ledger: Annotated[
        str,
        typer.Option("--ledger", help="Where the operator is.", metavar="NAMESPACE/RELEASE"),
    ] = "luthier-system/luthier",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what runs have used: GPU and CPU hours, tokens, bytes uploaded.

    From the operator's ledgers, which outlive runs, resources, namespaces and the operator. It
    takes the role luthier-usage in the operator's namespace.

    [dim]luthier usage --month 2026-11 --by namespace,user -o csv[/]
    """
    with told_errors():
        from datetime import UTC, datetime

        from luthier_cli import usage as command
        from luthier_cli.kube import connect

        days = command.span(since, month, datetime.now(UTC).date())
        names = command.fields(by)
        ledgers = command.fetch(connect(kubeconfig, context), ledger, days)
        found = command.rows(ledgers, days, names)
        if output is UsageOutput.json:
            print_json(command.to_json(found, names, days), indent=2)
        elif output is UsageOutput.csv:
            print(command.to_csv(found, names, days), end="")
        elif found:
            stdout().print(command.render(found, names, days), crop=False)
        else:
            typer.echo(f"nothing was used from {days[0]} to {days[1]}", err=True)
