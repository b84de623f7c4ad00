"""The command line as a user starts it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from contract.manifests import FINE_TUNE_JOB, Manifest, changed

COMMAND = (sys.executable, "-m", "luthier_cli")


def environment(kubeconfig: Path | None = None, **extra: str) -> dict[str, str]:
    """No colours, a wide screen, and no cluster but the one named."""
    ours = ("AWS_", "XDG_", "LUTHIER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept.pop("KUBECONFIG", None)
    named = {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}
    home = {"HOME": "/nonexistent"} if kubeconfig is None else {}
    return kept | home | named | {"COLUMNS": "200", "NO_COLOR": "1"} | extra


def luthier(
    *arguments: str,
    kubeconfig: Path | None = None,
    stdin: str = "",
    within: float = 60,
    **extra: str,
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        env=environment(kubeconfig, **extra),
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def fine_tune_job(name: str, namespace: str, **changes: Any) -> dict[str, Any]:
    """A valid manifest; `changes` by dotted path, with __ for the dot."""
    return named(FINE_TUNE_JOB, name, namespace, **changes)


def named(manifest: Manifest, name: str, namespace: str, **changes: Any) -> dict[str, Any]:
    """The manifest of that name; `changes` as of `fine_tune_job`."""
    paths = {key.replace("__", "."): value for key, value in changes.items()}
    return changed(manifest, {"metadata.name": name, "metadata.namespace": namespace, **paths})
