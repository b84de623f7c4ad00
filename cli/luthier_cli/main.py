"""The program: its commands, in the order of its help."""

from typing import Annotated

import typer

from luthier_cli.commands import (
    compare,
    convert,
    describe,
    history,
    init,
    list_,
    logs,
    pools,
    promote,
    pull,
    rerun,
    retrain,
    retry,
    run,
    trials,
    upload,
    usage,
    validate,
    version,
    watch,
)

app = typer.Typer(
    name="luthier",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune, optimise and bundle small language models on Kubernetes, or on this machine.",
    epilog="Also works as [bold]kubectl luthier[/].",
)


@app.callback()
def options(
    version_: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and end.", callback=version.of, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


for command in (
    init.init,
    validate.validate,
    convert.convert,
    run.run,
    list_.list_,
    describe.describe,
    watch.watch,
    logs.logs,
    retry.retry,
    retrain.retrain,
    rerun.rerun,
    history.history,
    compare.compare,
    promote.promote,
    trials.trials,
    pull.pull,
    upload.upload,
    pools.pools,
    usage.usage,
    version.version,
):
    app.command(command.__name__.rstrip("_"))(command)
