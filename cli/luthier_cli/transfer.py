"""How far files have come, on stderr: a bar on a terminal, else nothing until the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from luthier_api.visible import one_line
from luthier_cli.commands.console import stderr


@contextmanager
def bar(total: int) -> Iterator[Callable[[str, int], None]]:
    """What to tell of each file: its name, and how many bytes more have come of `total`."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
        TimeRemainingColumn(), TextColumn("{task.description}", markup=False),
    )  # fmt: skip
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as it:
        task = it.add_task("", total=total)

        def show(name: str, count: int) -> None:
            it.update(task, advance=count, description=one_line(name)[-40:])

        yield show
