"""Which tool a configuration is for."""

from collections.abc import Mapping
from typing import Any

from luthier_cli.convert.source import Source
from luthier_cli.convert.sources import SOURCES
from luthier_cli.errors import CliError


def guess(given: Mapping[str, Any], file: str) -> Source:
    """The tool whose own fields a configuration has, most of all. Raises CliError."""
    marked = [it for it in SOURCES.values() if any(mark in given for mark in it.marks)]
    best = max(marked, key=lambda it: it.known(given), default=None)
    if best is None or not best.known(given):
        raise CliError(
            f"can't tell which tool {file} is for",
            f"say it: --from {'|'.join(SOURCES)}",
        )
    return best
