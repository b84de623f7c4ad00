"""Python programs with requirements of their own, each in an environment that is made once.

As of built programs (binaries.py), the name of its folder holds a hash of what is in it.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from .commands import CommandError, run
from .layout import cache_root
from .locks import locked
from .output import step

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
# Servers and clients of experiment trackers, for tests.
TRACKERS = ("mlflow", "wandb")


def ensure(name: str) -> Path:
    """The Python of the environment of requirements/NAME.txt, made if it isn't there;
    `CommandError` if it can't be."""
    requirements = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:12]
    folder = cache_root() / "environments" / f"{name}-{digest}"
    made = folder / ".made"
    if not made.exists():
        with locked(folder.with_name(f".{name}.lock"), within=900):
            if not made.exists():
                with step(f"Python packages of {name}"):
                    _make(folder, requirements)
                made.touch()
    return folder / "bin" / "python"


def _make(folder: Path, requirements: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    uv = _uv()
    run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], within=60)
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode"]
    run([*install, "--python", str(folder / "bin" / "python"), str(requirements)], within=900)


def _uv() -> str:
    """The newest that scripts/setup.sh has brought."""
    found = sorted(cache_root().glob("uv-*/bin/uv"))
    if not found:
        raise CommandError(f"there is no uv in {cache_root()}\nremedy: run `make setup`")
    return str(found[-1])
