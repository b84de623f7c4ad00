"""`luthier convert`: manifests from configurations of other tools."""

from enum import StrEnum
from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, stderr, told_errors
from luthier_cli.commands.options import Output, OutputFormat
from luthier_cli.errors import Exit


class Tool(StrEnum):
    """Whose configurations are read."""

    olive = "olive"
    axolotl = "axolotl"
    llamafactory = "llamafactory"
    trl = "trl"
    openai = "openai"
    kubeflow = "kubeflow"


def convert(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Configuration, or - for stdin; or -- and a command line.",
            metavar="FILE | -- COMMAND…",
        ),
    ],
    tool: Annotated[
        Tool | None,
        typer.Option("--from", help="The tool. Left out: guessed by the fields."),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            "--write", "-w", help="File for the manifests. Default: stdout.", metavar="FILE"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the manifests. Default: by the configuration.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of the manifests.", metavar="NS")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell of every field what it became.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a field can't be said, or is unknown.")
    ] = False,
    output: OutputFormat = Output.text,
) -> None:
    """Make manifests of another tool's configuration or command.

    Reads Olive's JSON and YAML, Axolotl's and LLaMA-Factory's YAML, TRL's,
    an OpenAI fine-tuning job's JSON and Kubeflow's TrainJob; and command lines
    of olive, axolotl, llamafactory-cli and trl. The manifests are valid; their
    comments tell what differs, what is to be filled in, and what can't be said
    here. What became of each field goes to stderr.

    Exit code: 0 converted, 1 nothing valid comes of it (with --strict: something
    is lost), 2 could not be read.

    [dim]luthier convert axolotl.yaml > finetunejob.yaml[/]
    [dim]luthier convert olive.json --explain -w manifests.yaml[/]
    [dim]luthier convert -- olive finetune -m microsoft/phi-2 -d data --lora_r 8[/]
    """
    with told_errors():
        from luthier_cli.convert import command

        done = command.run(words, tool, command.Naming(name, namespace))
        if write:
            command.write(write, done.yaml)
        if output is Output.json:
            print_json(done.to_json(), indent=2)
        else:
            if not write:
                command.print_yaml(done.yaml)
            command.show(done, stderr(), everything=explain)
        raise typer.Exit(Exit.FAILED if strict and not command.is_whole(done) else Exit.OK)
