"""`luthier compare`: two revisions beside each other."""

from pathlib import Path
from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import (
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    OutputFormat,
    S3Endpoint,
)
from luthier_cli.errors import CliError


def compare(
    name: Name,
    first: Annotated[str, typer.Argument(help="A revision; r2 is enough.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    output: OutputFormat = Output.text,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write an HTML page, too.", metavar="FILE")
    ] = None,
    s3_endpoint: S3Endpoint = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what two revisions differ in: metrics, data, settings, loss curves.

    Metrics and data are in the resource's status. Settings and curves are in the artifacts, which
    are read with the S3 credentials of the environment, where there are any.

    [dim]luthier compare tone r2 r3 --page r2-r3.html[/]
    """
    with told_errors():
        from luthier_cli.compare import compared
        from luthier_cli.comparison import page as page_of
        from luthier_cli.comparison import render
        from luthier_cli.kube import connect, read
        from luthier_cli.target import parse_target

        resource = read(connect(kubeconfig, context, namespace), parse_target(name))
        found, note = compared(resource, first, second, s3_endpoint)
        if note:
            typer.echo(f"settings and curves: {note}", err=True)
        if page is not None:
            try:
                page.write_text(page_of(found), encoding="utf-8")
            except OSError as error:
                raise CliError(f"can't write {page}: {error.strerror}", "") from None
        if output is Output.json:
            print_json(found.to_json(), indent=2)
        else:
            stdout().print(render(found), crop=False)
