"""What commands say on the terminal: errors with their remedy, and summaries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from luthier_cli.errors import CliError, Exit

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def told_errors() -> Iterator[None]:
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


def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def show_text(summary: dict[str, object]) -> None:
    from rich.console import Console

    from luthier_cli.summary import render

    Console().print(render(summary), crop=False)
