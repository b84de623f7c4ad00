"""Running other programs: with a limit, and with an error that tells what they said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import ClusterError

# Debian keeps iptables and ip in sbin, which isn't on every user's path.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandError(ClusterError):
    """A program ended with an error: which, how, and the last lines it wrote."""


def run(
    command: Sequence[str | Path],
    *,
    within: float = 60,
    input: str | None = None,
    folder: Path | None = None,
) -> str:
    """The program's standard output.

    Raises `CommandError` if it fails, isn't there, or takes longer than `within` seconds.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=input,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=within,
            env=os.environ | {"PATH": f"{PATH}:{os.environ.get('PATH', '')}"},
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{words[0]}: no such program on {PATH}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(words)}: not done after {within:g} s") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-10:])
        raise CommandError(f"{' '.join(words)}: exit status {done.returncode}\n{said}")
    return done.stdout
