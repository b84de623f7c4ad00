"""The commands and their options. Each imports what it needs when it is called."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier_cli.errors import CliError, Exit

if TYPE_CHECKING:
    from rich.console import Console

    from luthier_cli.kube import Cluster

app = typer.Typer(
    name="luthier",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune, optimise and bundle small language models on Kubernetes, or on this machine.",
    epilog="Also works as [bold]kubectl luthier[/].",
)


class Output(StrEnum):
    """How results are written."""

    text = "text"
    json = "json"


Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Default: that of the context.", metavar="NS"),
]
Context = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig.", metavar="NAME")
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="Default: KUBECONFIG, else ~/.kube/config.", metavar="FILE"),
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
    ),
]


@app.command()
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
    with _errors():
        from rich.console import Console

        from luthier_cli import offline as here
        from luthier_cli import validate as command

        sources = command.read_sources(files)
        how = command.OFFLINE
        check: command.Check = here.check_document
        if not offline and _cluster_configured(kubeconfig, context):
            from luthier_cli import server

            cluster = _connect(kubeconfig, context, namespace)
            how = f"the cluster at {cluster.server} (context {cluster.context})"
            check = server.checker(cluster)
        report = command.validate(sources, check)
        if output is Output.json:
            print(json.dumps(report.to_json(how), ensure_ascii=False, indent=2))
        else:
            command.show(report, how, Console())
        raise typer.Exit(Exit.FAILED if report.findings else Exit.OK)


@app.command()
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
        Path | None,
        typer.Option("--model", help="Folder of the base model: model.uri, base.uri, modelUri."),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="File or folder: dataset.uri.")
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
    s3_endpoint: Annotated[
        str | None,
        typer.Option(
            "--s3-endpoint", help="URL of the store. Default: AWS_ENDPOINT_URL, else AWS."
        ),
    ] = None,
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
    with _errors():
        from rich.console import Console

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

            show(Report(findings=error.findings), OFFLINE, _stderr())
            raise typer.Exit(Exit.FAILED) from None
        if output_format is Output.text:
            raise typer.Exit(run_all(manifests, options, Console(), _stderr(), _show_text))
        summaries: list[dict[str, object]] = []
        code = run_all(manifests, options, _stderr(), _stderr(), summaries.append)
        document = summaries if every else summaries[0]
        print(json.dumps(document, ensure_ascii=False, indent=2))
        raise typer.Exit(code)


@app.command()
def watch(
    name: Name,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Give up after so many seconds.", min=1)
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary/--no-summary", help="Show what came of it at the end.")
    ] = True,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Follow a run live to its end, then show what came of it.

    Exit code: 0 complete, 1 failed, 2 could not watch, 124 timed out.

    [dim]luthier watch tone -n team-a[/]
    [dim]luthier watch opj/tone -n team-a[/]
    [dim]luthier watch tone -o json --timeout 3600 | jq -c .status.progress[/]
    """
    with _errors():
        from rich.console import Console

        from luthier_cli import watch as command
        from luthier_cli.display import open_display
        from luthier_cli.state import outcome
        from luthier_cli.summary import summarize
        from luthier_cli.target import parse_target

        target = parse_target(name)
        cluster = _connect(kubeconfig, context, namespace)
        note = "Ctrl-C leaves the view; the run goes on"
        try:
            with open_display(Console(), output.value, note) as display:
                resource = command.follow(cluster, target, display, timeout)
        except KeyboardInterrupt:
            _stderr().print(
                f"the run goes on; look again: luthier watch {name} -n {cluster.namespace}",
                style="yellow",
            )
            raise typer.Exit(Exit.INTERRUPTED) from None
        if summary:
            found = summarize(resource)
            if output is Output.json:
                print(json.dumps({"event": "end", "summary": found}, ensure_ascii=False))
            else:
                _show_text(found)
        raise typer.Exit(Exit.OK if outcome(resource) == "Complete" else Exit.FAILED)


@app.command()
def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on to the run's end, over restarts.")
    ] = False,
    all_attempts: Annotated[
        bool, typer.Option("--all-attempts", help="All pods that are still there, oldest first.")
    ] = False,
    tail: Annotated[int, typer.Option("--tail", help="Only the last lines; -1: all.")] = -1,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Print the logs of a run's newest pod, or of all of them.

    [dim]luthier logs tone -f[/]
    """
    with _errors():
        from luthier_cli.logs import Logs
        from luthier_cli.target import parse_target

        target = parse_target(name)
        error = _stderr()
        Logs(
            _connect(kubeconfig, context, namespace),
            target,
            write=lambda line: print(line, flush=follow),
            note=lambda text: error.print(f"── {text}", style="dim", markup=False),
        ).show(follow=follow, all_attempts=all_attempts, tail=tail)


@app.command()
def retry(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Even if the run hasn't failed.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Start the next attempt of a failed run; it goes on from what was saved.

    [dim]luthier retry tone && luthier watch tone[/]
    """
    with _errors():
        from luthier_cli import retry as command
        from luthier_cli.target import parse_target

        target = parse_target(name)
        cluster = _connect(kubeconfig, context, namespace)
        command.retry(cluster, target, force)
        print(f"{name} will be tried again; follow it: luthier watch {name} -n {cluster.namespace}")


@app.command()
def version() -> None:
    """Print the version of this program and of the API that it knows."""
    from importlib.metadata import version as installed

    from luthier_api import API_VERSION

    print(f"luthier {installed('luthier')} (API {API_VERSION})")


def _connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
    from luthier_cli.kube import connect

    return connect(kubeconfig, context, namespace)


def _cluster_configured(kubeconfig: str | None, context: str | None) -> bool:
    from luthier_cli.kubeconfig import configured

    return configured(kubeconfig, context)


def _show_text(summary: dict[str, object]) -> None:
    from rich.console import Console

    from luthier_cli.summary import render

    Console().print(render(summary), crop=False)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def _errors() -> Iterator[None]:
    """CliError → what, where and the remedy on stderr, and its exit code."""
    try:
        yield
    except CliError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"  → {error.remedy}", file=sys.stderr)
        raise typer.Exit(error.code) from None
    except BrokenPipeError:
        # The reader has gone, e.g. `luthier logs | head`.
        sys.stderr.close()
        raise typer.Exit(Exit.OK) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
