"""Options that several commands have."""

from enum import StrEnum
from typing import Annotated

import typer

from luthier_cli.commands import completion


class Output(StrEnum):
    """How results are written."""

    text = "text"
    json = "json"


Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Default: that of the context.", metavar="NS"),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="Context of the kubeconfig.",
        metavar="NAME",
        autocompletion=completion.contexts,
    ),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Default: KUBECONFIG, else ~/.kube/config.", metavar="FILE"),
]
S3Endpoint = Annotated[
    str | None,
    typer.Option("--s3-endpoint", help="Default: AWS_ENDPOINT_URL, else AWS.", metavar="URL"),
]
OutputFormat = Annotated[
    Output, typer.Option("--output", "-o", help="text for people, json for programs.")
]
Name = Annotated[
    str,
    typer.Argument(
        help="Name of the FineTuneJob; of another kind: opj/NAME (OptimizeJob), ab/NAME "
        "(AdapterBundle).",
        metavar="[KIND/]NAME",
        autocompletion=completion.names,
    ),
]
