"""`luthier init`: a first manifest."""

import sys
from typing import Annotated

import typer

from luthier_cli.commands.console import say, told_errors
from luthier_cli.errors import CliError


def init(
    file: Annotated[
        str | None,
        typer.Argument(help="Where the manifest goes; - is stdout. Default: NAME.yaml."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="OWNER/NAME of a hub, a URI, or a folder.", metavar="DIR|URI"),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="A file, a URI, or OWNER/NAME.", metavar="PATH|URI"),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Default: what the file's columns tell.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Default: the file's.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of the manifest.", metavar="NS")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Where results go: output.uri.", metavar="URI")
    ] = None,
    gpus: Annotated[int, typer.Option("--gpus", help="0 trains on CPUs.", min=0, max=16)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> None:
    """Write a first manifest: of a model, data and a task.

    What no option says is asked, on a terminal. Of a file of this machine the
    first row is read: its columns tell the task, and go into the manifest.

    [dim]luthier init[/]
    [dim]luthier init tone.yaml --model HuggingFaceTB/SmolLM2-135M --dataset tones.csv[/]
    """
    with told_errors():
        from luthier_cli import rowforms, starter
        from luthier_cli.convert import command
        from luthier_cli.convert.manifest import commented
        from luthier_cli.convert.places import resource_name

        data = dataset or _asked("Data (a file, s3://…, or OWNER/NAME of a hub)", "--dataset")
        base = model or _asked("Model (OWNER/NAME of a hub, s3://…, or a folder)", "--model")
        found = starter.form(data)
        wanted = task or (found.task if found else None)
        if wanted is None or (task is None and sys.stdin.isatty()):
            choices = ", ".join(rowforms.TASKS)
            wanted = _asked(f"Task ({choices})", "--task", wanted)
        if wanted not in rowforms.TASKS:
            raise CliError(f"there is no task {wanted}", f"use {', '.join(rowforms.TASKS)}")
        called = name or resource_name(
            data.rstrip("/").rpartition("/")[2].partition(".")[0], "tuned"
        )
        command.check_names(called, namespace)
        answers = starter.Answers(called, base, data, wanted, namespace, to, gpus)
        draft = starter.starter(answers, found)
        text = commented(draft, "")
        place = file or f"{called}.yaml"
        if place == "-":
            command.print_yaml(text)
            return
        command.write(place, text, overwrite=force)
        say(f"{place}: FineTuneJob {called}, {wanted} by lora")
        for step in starter.next_steps(place, answers, draft):
            say(f"  {step}")


def _asked(question: str, option: str, default: str | None = None) -> str:
    """What somebody at a terminal answers. Raises CliError where there is none."""
    if not sys.stdin.isatty():
        raise CliError(f"{option} isn't given, and nobody can be asked", f"give {option}")
    answer: str = typer.prompt(question, default=default, err=True)
    return answer.strip()
