"""How far files have come, a bar on a terminal, else nothing until the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from luthier_api.visible import one_line

Show = Callable[[str, int], None]  # a file, and so many bytes more of it


@contextmanager
def bar(console: Console, total: int) -> Iterator[Show]:
    """What to tell of each file, of `total` bytes."""
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
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as it:
        task = it.add_task("", total=total)

        def show(name: str, count: int) -> None:
            it.update(task, advance=count, description=one_line(name)[-40:])

        yield show
