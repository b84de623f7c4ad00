"""Command lines of other tools, as they are pasted."""

from luthier_cli.convert.convert import Converted, Naming
from luthier_cli.convert.source import Beside
from luthier_cli.errors import CliError


def is_command(words: list[str]) -> bool:
    return len(words) > 1


def convert_command(
    words: list[str], naming: Naming, beside: Beside, tool: str | None
) -> Converted:
    raise CliError("not yet")
