"""`luthier upload`: data or a model into a bucket."""

from pathlib import Path
from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, say, stderr, told_errors
from luthier_cli.commands.options import Output, OutputFormat, S3Endpoint


def upload(
    path: Annotated[Path, typer.Argument(help="A file, or a folder.", metavar="PATH")],
    to: Annotated[str, typer.Argument(help="Where to.", metavar="s3://BUCKET/PREFIX")],
    output: OutputFormat = Output.text,
    s3_endpoint: S3Endpoint = None,
) -> None:
    """Bring a dataset or a model into a bucket, and print the URI for the manifest.

    With the S3 credentials of the environment. What is there already isn't sent again.

    [dim]luthier upload tones.jsonl s3://datasets[/]
    [dim]luthier upload ./smollm2-135m s3://models[/]
    """
    with told_errors():
        from luthier_cli.paths import path_of
        from luthier_cli.text import files as counted
        from luthier_cli.text import size
        from luthier_cli.transfer import bar
        from luthier_cli.upload import files_below, place_of
        from luthier_cli.upload import upload as upload_file

        place = place_of(to)
        files = files_below(path_of(str(path)))
        total = sum(file.stat().st_size for file, _ in files)
        with bar(stderr(), total) as show:
            new = sum(upload_file(file, name, place, s3_endpoint, show) for file, name in files)
        uri = place.uri(files[0][1].partition("/")[0])
        if output is Output.json:
            print_json({"uri": uri, "files": len(files), "bytes": total, "new": new}, indent=2)
        else:
            say(f"{uri}: {counted(len(files))}, {size(total)}, {new} of them new")
