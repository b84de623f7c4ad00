"""The trainer's own output, a file that every start of the same run goes on with."""

import re
from pathlib import Path

_WARNING = re.compile(rb"^ *[0-9]+\.[0-9]s warning: (.*)$", re.MULTILINE)
_MAX_BYTES = 16 << 20  # of what is looked through: the newest


def end_of(log: Path) -> int:
    """Where the next start begins to write."""
    return log.stat().st_size if log.exists() else 0


def warnings_of(log: Path, start: int) -> list[str]:
    """What the trainer warned of since `start`, each once."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _MAX_BYTES))
        found = _WARNING.findall(file.read())
    return list(dict.fromkeys(line.decode(errors="replace").strip() for line in found))


def tail(log: Path, lines: int) -> str:
    """Its last lines."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - (1 << 16)))
        last = file.read().decode(errors="replace").splitlines()
    return "\n".join(last[-lines:])
