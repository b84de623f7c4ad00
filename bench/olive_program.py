"""Olive, in an environment of its own: it brings other versions. Made once, under the cache."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.training import LIMIT_SECONDS
from luthier_demo import content

VERSION = "0.13.0"
# The newest that it works with: later ones want a call that it does not make, or lack a module.
GENAI = "0.13.2"


class FailedError(Exception):
    """Olive makes nothing of it; the message says why, in its own words."""


def run(arguments: Sequence[str], folder: Path, within: float = LIMIT_SECONDS) -> str:
    """What `olive` says, run in `folder` without a hub, for `within` seconds at most. Raises
    FailedError."""
    try:
        return _run(arguments, folder, within)
    except subprocess.TimeoutExpired as error:
        raise FailedError(f"not done after {error.timeout:.0f} s") from error


def _run(arguments: Sequence[str], folder: Path, within: float) -> str:
    done = subprocess.run(
        [str(_environment() / "bin" / "olive"), *arguments, "--disable_telemetry"],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=within,
    )
    if done.returncode:
        raise FailedError(done.stdout[-3000:])
    return done.stdout


def _environment() -> Path:
    cache = Path(os.environ.get("LUTHIER_CACHE", Path.home() / ".cache" / "luthier"))
    folder = cache / f"olive-{VERSION}"
    complete = folder / f"complete-{GENAI}"
    if complete.exists():
        return folder
    uv = sorted(cache.glob("uv-*/bin/uv"))[-1]
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
    command = [*install, "--constraint", str(content.REPOSITORY / "requirements" / "dev.txt")]
    # requests: Olive needs it and doesn't say so.
    command += [f"olive-ai=={VERSION}", "requests", "transformers", "torch", "peft"]
    command += ["accelerate", "datasets", "onnxruntime", "onnxscript"]
    subprocess.run(command, check=True, timeout=900)
    subprocess.run([*install, f"onnxruntime-genai=={GENAI}"], check=True, timeout=900)
    complete.touch()
    return folder
