"""`luthier pull`: a result onto this machine."""

from pathlib import Path
from typing import Annotated

import typer

from luthier_cli.commands import completion
from luthier_cli.commands.console import print_json, say, stderr, told_errors
from luthier_cli.commands.options import (
    Context,
    Kubeconfig,
    Namespace,
    Output,
    OutputFormat,
    S3Endpoint,
)


def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="A FineTuneJob, opj/NAME, ab/NAME; or an artifact's folder: s3://BUCKET/PREFIX.",
            metavar="[KIND/]NAME|URI",
            autocompletion=completion.names,
        ),
    ],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder. [default: ./NAME]", metavar="DIR")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option("--revision", "-r", help="Of a FineTuneJob; r2 is enough. [default: in use]"),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", help="Only such files: 'adapter/*'.", metavar="GLOB"),
    ] = None,
    output: OutputFormat = Output.text,
    s3_endpoint: S3Endpoint = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Bring a result's files here, each checked against the manifest's digest.

    The bucket is read with the S3 credentials of the environment. What is there already stays; a
    command that was interrupted goes on from there.

    [dim]luthier pull tone[/]
    [dim]luthier pull opj/tone --to package --include 'model/*'[/]
    [dim]luthier pull tone -r r2 --to tone-r2[/]
    """
    with told_errors():
        from luthier_cli.kube import connect, read
        from luthier_cli.paths import is_uri, path_of
        from luthier_cli.pull import Published, files_of, published, read_manifest
        from luthier_cli.pull import pull as pull_files
        from luthier_cli.target import parse_target
        from luthier_cli.text import files as counted
        from luthier_cli.text import size
        from luthier_cli.transfer import bar

        if is_uri(name):
            found, called = Published(name.rstrip("/")), name.rstrip("/").rpartition("/")[2]
        else:
            target = parse_target(name)
            resource = read(connect(kubeconfig, context, namespace), target)
            found, called = published(resource, target, revision), target.name
        manifest = read_manifest(found, s3_endpoint)
        files = files_of(manifest, include or ())
        folder = path_of(str(to)) if to else Path(called)
        total = sum(file.bytes for file in files)
        with bar(stderr(), total) as show:
            new = pull_files(found.uri, manifest, files, folder, s3_endpoint, show)
        if output is Output.json:
            print_json(
                {
                    "uri": found.uri, "folder": str(folder.resolve()), "bytes": total, "new": new,
                    "files": [file.path for file in files],
                }, indent=2,
            )  # fmt: skip
            return
        say(f"{found.uri} → {folder}: {counted(len(files))}, {size(total)}, {new} of them new")
        if (folder / "README.md").is_file():
            say(f"how to use it: {folder / 'README.md'}")
