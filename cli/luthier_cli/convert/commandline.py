"""Command lines of other tools, as they are pasted: which tool, which command, which options."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from luthier_cli.convert import olive_command, trl
from luthier_cli.convert.convert import Converted, Naming, convert_text, finished
from luthier_cli.convert.reading import read_mapping
from luthier_cli.convert.source import Beside, RefusedError
from luthier_cli.convert.sources import SOURCES
from luthier_cli.convert.told import Fate
from luthier_cli.errors import CliError
from luthier_cli.yaml import YamlError, scalar

_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_PROGRAMS = {
    "olive": "olive",
    "axolotl": "axolotl",
    "axolotl.cli.train": "axolotl",
    "llamafactory-cli": "llamafactory",
    "lmf": "llamafactory",
    "trl": "trl",
    "sft.py": "trl",
    "dpo.py": "trl",
}
_NAMES = ", ".join(_PROGRAMS)
_STARTS = "how processes are started is placement.gpus and placement.nodes"


def is_command(words: list[str]) -> bool:
    """Whether words are a command line, not a file."""
    return len(words) > 1


def convert_command(
    words: list[str], naming: Naming, beside: Beside, tool: str | None
) -> Converted:
    """Convert a command line. Raises CliError."""
    at = next((i for i, it in enumerate(words) if PurePosixPath(it).name in _PROGRAMS), None)
    if at is None or (tool and _PROGRAMS[PurePosixPath(words[at]).name] != tool):
        raise CliError(
            f"no command that is known: {' '.join(words[:4])}", f"it begins with {_NAMES}"
        )
    program, rest = PurePosixPath(words[at]).name, words[at + 1 :]
    started = [
        it for it in words[:at] if not _ASSIGNED.fullmatch(it) and it not in ("python", "-m")
    ]
    done = _converted(_PROGRAMS[program], program, rest, naming, beside)
    if started:
        done.drafts[0].tell(" ".join(started), None, Fate.MOOT, why=_STARTS)
    return done


def _converted(
    tool: str, program: str, words: list[str], naming: Naming, beside: Beside
) -> Converted:
    command, words = (
        (program.removesuffix(".py"), words)
        if program.endswith(".py")
        else (
            (words[0], words[1:]) if words and program != "axolotl.cli.train" else ("train", words)
        )
    )
    if tool == "olive":
        return _olive(command, words, naming, beside)
    source = SOURCES[tool]
    if tool != "trl" and command != "train":
        raise RefusedError(f"{program} {command} trains nothing", "convert its train command")
    files = [it for it in words[:1] if not it.startswith("-")] if tool != "trl" else []
    given, more = options(words[len(files) :])
    name = files[0] if files else given.pop("config", None)
    config = _file(name, beside) if isinstance(name, str) else {}
    script = {trl.SCRIPT: command} if tool == "trl" else {}
    for word in more:
        key, _, value = word.partition("=")
        given[key] = _value(value)
    origin = f"{source.title}'s {program} {command}" if not program.endswith(".py") else program
    return finished(source, origin, source.convert({**config, **given, **script}, beside), naming)


def _file(name: str, beside: Beside) -> dict[str, Any]:
    found = beside(name)
    if found is None:
        raise CliError(f"can't read {name}, which the command names", "check the path")
    return read_mapping(found, name)


def _olive(command: str, words: list[str], naming: Naming, beside: Beside) -> Converted:
    source = SOURCES["olive"]
    if command == "run":
        given, _ = options(words, olive_command.SHORT)
        name = given.get("config") or given.get("run_config")
        if not isinstance(name, str):
            raise CliError("olive run names no configuration", "give it by --config")
        found = beside(name)
        if found is None:
            raise CliError(f"can't read {name}, which the command names", "check the path")
        return convert_text(found, name, naming, beside, "olive")
    given, more = options(words, olive_command.SHORT)
    drafts = olive_command.convert(command, given, more)
    return finished(source, f"olive {command}", drafts, naming)


def options(
    words: list[str], short: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """--name value, --name=value, --name (true), --name a b (a list); and what is no option."""
    given: dict[str, Any] = {}
    others: list[str] = []
    name = ""
    for word in words:
        if word.startswith("-") and not _is_number(word):
            plain, equals, value = word.partition("=")
            name = (short or {}).get(plain) or plain.lstrip("-").replace("-", "_")
            given[name] = _value(value) if equals else True
            name = "" if equals else name
        elif not name:
            others.append(word)
        elif given[name] is True:
            given[name] = _value(word)
        else:
            before = given[name]
            given[name] = (
                [*before, _value(word)] if isinstance(before, list) else [before, _value(word)]
            )
    return given, others


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _value(word: str) -> Any:
    """As YAML reads it; numbers and switches have their type."""
    try:
        found = scalar(word)
    except YamlError:
        return word
    return word if found is None else found
