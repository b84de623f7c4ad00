"""What commands say on the terminal: errors with their remedy, and summaries."""

from __future__ import annotations

import json
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
        from luthier_api.visible import visible

        # What comes after a line break never looks like a line of ours.
        print(f"error: {visible(error.message)}".replace("\n", "\n  "), file=sys.stderr)
        if error.remedy:
            print(f"  → {visible(error.remedy)}".replace("\n", "\n    "), file=sys.stderr)
        raise typer.Exit(error.code) from None
    except BrokenPipeError:
        # The reader has gone, e.g. `luthier logs | head`.
        sys.stderr.close()
        raise typer.Exit(Exit.OK) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def stdout() -> Console:
    return _console(stderr=False)


def stderr() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    """One that takes text as it is: brackets and colons in a name are no markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def show_text(summary: dict[str, object]) -> None:
    from luthier_cli.summary import render

    stdout().print(render(summary), crop=False)


def print_json(document: object, *, indent: int | None = None) -> None:
    """A document for programs, which acts on no terminal either."""
    from luthier_api.visible import in_json

    print(in_json(json.dumps(document, ensure_ascii=False, indent=indent)))


def say(line: str) -> None:
    """A line on stdout."""
    from luthier_api.visible import one_line

    print(one_line(line))
