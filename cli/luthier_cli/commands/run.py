"""`luthier run`: run a manifest on this machine."""

from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, show_text, stderr, stdout, told_errors
from luthier_cli.commands.options import Output, S3Endpoint
from luthier_cli.errors import Exit


def run(
    file: Annotated[str, typer.Argument(help="Manifest, or - for stdin.", metavar="FILE")],
    output: Annotated[
        str,
        typer.Option(
            "--output", help="Folder for results, or s3://BUCKET/PREFIX.", metavar="DIR|URI"
        ),
    ] = "out",
    s3: Annotated[bool, typer.Option("--s3", help="Results go to the spec's output.uri.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a field: training.maxSteps=5; null removes it.",
            metavar="F=V",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Folder of the base model: model.uri, base.uri, modelUri.",
            metavar="DIR|URI",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="File or folder: dataset.uri.", metavar="PATH|URI"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Which resource, if the file has several.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Of which kind: ftj, opj, ab, or in full.", metavar="KIND"),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="All resources of the file, each after what it refers to."),
    ] = False,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run the manifest's own loss and evaluation code.")
    ] = False,
    s3_endpoint: S3Endpoint = None,
    s3_region: Annotated[
        str | None, typer.Option("--s3-region", help="Default: AWS_REGION, else us-east-1.")
    ] = None,
    output_format: Annotated[
        Output, typer.Option("--output-format", "-o", help="text for people, json for programs.")
    ] = Output.text,
) -> None:
    """Run a manifest on this machine, without Kubernetes.

    Results go to a local folder unless S3 is asked for by --s3 or --output.
    Credentials come from the environment (AWS_ACCESS_KEY_ID, HF_TOKEN, …), ConfigMaps
    from the same file. What a fineTuneJobRef names is the newest finished result of that
    name below the same --output. Ctrl-C saves a checkpoint; the same command goes on from there.

    Exit code: 0 done, 1 failed (no candidate keeps its gates, too), 2 could not start,
    130 interrupted.

    [dim]luthier run finetunejob.yaml --model ./smollm2 --dataset ./tones.jsonl[/]
    [dim]luthier run optimizejob.yaml[/]
    [dim]luthier run finetunejob.yaml --set training.maxSteps=5 --output /tmp/try[/]
    """
    with told_errors():
        from luthier_cli import order as orders
        from luthier_cli.several import run_all

        options = orders.Options(
            output=output,
            s3=s3,
            settings=tuple(settings or ()),
            model=model,
            dataset=dataset,
            name=name,
            kind=kind,
            every=every,
            s3_endpoint=s3_endpoint,
            s3_region=s3_region,
            allow_code=allow_code,
        )
        try:
            manifests = orders.read_manifests(file, options)
        except orders.InvalidManifestError as error:
            from luthier_cli.validate import OFFLINE, Report, show

            show(Report(findings=error.findings), OFFLINE, stderr())
            raise typer.Exit(Exit.FAILED) from None
        if output_format is Output.text:
            raise typer.Exit(run_all(manifests, options, stdout(), stderr(), show_text))
        summaries: list[dict[str, object]] = []
        code = run_all(manifests, options, stderr(), stderr(), summaries.append)
        print_json(summaries if every else summaries[0], indent=2)
        raise typer.Exit(code)
