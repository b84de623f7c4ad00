"""What each tool's module says of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from luthier_cli.convert.draft import Draft
from luthier_cli.convert.mapping import Table
from luthier_cli.convert.places import resource_name
from luthier_cli.convert.told import Fate
from luthier_cli.errors import CliError, Exit

# Reads a file that a configuration names, beside it; None: there is none.
Beside = Callable[[str], str | None]


class RefusedError(CliError):
    """Of such a configuration no manifest can be made that would do the same."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy, Exit.FAILED)


@dataclass(frozen=True)
class Source:
    """A tool. `tables`: by the kind that its fields go to, and by where they stand.

    `marks`: fields that only its configurations have.
    """

    name: str
    title: str
    tables: Mapping[str, Mapping[str, Table]]
    convert: Callable[[dict[str, Any], Beside], list[Draft]]
    marks: tuple[str, ...] = ()

    def known(self, given: Mapping[str, Any]) -> int:
        """How many of a configuration's fields it has."""
        outermost = [tables[""] for tables in self.tables.values() if "" in tables]
        return sum(any(name in table for table in outermost) for name in given)


def named(given: Mapping[str, Any], *names: str) -> str:
    """A resource's name after the first of some fields that is given: a path's last part."""
    for name in names:
        value = given.get(name)
        if isinstance(value, str) and value.strip("/ ."):
            return resource_name(PurePosixPath(value.rstrip("/")).name)
    return resource_name("")


def on_gpu(draft: Draft) -> None:
    """Where nothing says on what: these tools take a GPU."""
    if draft.get("placement.gpus") is None:
        why = "the tool takes the GPUs that it finds; 0 trains on CPUs"
        draft.put("placement.gpus", 1, fate=Fate.DIFFERS, why=why)
