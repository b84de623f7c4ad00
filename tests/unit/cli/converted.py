"""Configurations of other tools, written for these tests in the shape of their own examples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier_cli.convert.convert import Converted, Naming, convert_text
from luthier_cli.yaml import at

CONFIGS = Path(__file__).parent / "configs"
# By file: the tool that it is for.
FILES = {
    path.name: path.name.partition("-")[0] for path in sorted(CONFIGS.iterdir()) if path.is_file()
}


def beside(file: Path) -> Callable[[str], str | None]:
    """Reads what lies in a configuration's folder."""

    def read(name: str) -> str | None:
        path = file.parent / name
        return path.read_text() if path.is_file() else None

    return read


def converted(name: str, tool: str | None = None) -> Converted:
    """Of one of these files."""
    file = CONFIGS / name
    return convert_text(file.read_text(), name, Naming(), beside(file), tool)


def spec(done: Converted, path: str, number: int = 0) -> Any:
    """A field of a manifest's spec."""
    return at(done.drafts[number].spec, tuple(path.split(".")))
