"""What `luthier convert` does: files and command lines in, manifests out."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from luthier_cli import metadata, paths
from luthier_cli.convert import report
from luthier_cli.convert.commandline import convert_command, is_command
from luthier_cli.convert.convert import Converted, Naming, convert_text
from luthier_cli.convert.source import Beside
from luthier_cli.errors import CliError
from luthier_cli.validate import read_source

__all__ = ["Naming", "is_whole", "print_yaml", "run", "show", "write"]


def run(words: Sequence[str], tool: str | None, naming: Naming) -> Converted:
    """Convert a file, or a command line. Raises CliError."""
    check_names(naming.name, naming.namespace)
    if len(words) == 1:
        parts = _as_command(words[0])
        if not is_command(parts):
            file, text = read_source(words[0])
            return convert_text(text, file, naming, _beside(file), tool)
        words = parts
    return convert_command(list(words), naming, _beside(""), tool)


def check_names(name: str | None, namespace: str | None) -> None:
    """Raises CliError for what no resource can be called."""
    given = {"name": name or "x", **({"namespace": namespace} if namespace else {})}
    for path, message, remedy in metadata.problems(given):
        raise CliError(f"{'.'.join(map(str, path))}: {message}", remedy)


def _as_command(word: str) -> list[str]:
    """A command line in quotes."""
    if paths.path_of(word).exists() or " " not in word:
        return [word]
    try:
        return shlex.split(word)
    except ValueError:
        return [word]


def _beside(file: str) -> Beside:
    """Reads what a configuration names: from here, or from its own folder."""

    def read(name: str) -> str | None:
        for folder in (Path(), paths.path_of(file).parent):
            path = folder / name
            if path.is_file():
                return read_source(str(path))[1]
        return None

    return read


def write(file: str, text: str, *, overwrite: bool = True) -> None:
    """Write the manifests. Raises CliError."""
    try:
        with paths.path_of(file).open("w" if overwrite else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise CliError(f"{file} is there already", "name another file, or give --force") from None
    except OSError as error:
        raise CliError(f"can't write {file}: {error.strerror}", "check the path") from None


def print_yaml(text: str) -> None:
    """On stdout; its quoted texts hold no character that acts on a terminal."""
    print(text, end="", file=sys.stdout)


def show(done: Converted, console: Console, *, everything: bool) -> None:
    """What became of each field."""
    report.show(done.told, done.source.title, console, everything=everything)


def is_whole(done: Converted) -> bool:
    """Whether all that was said is said here."""
    return report.is_whole(done.told)
