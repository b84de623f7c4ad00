"""kubectl, the one that was built with the cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import binaries
from .errors import ClusterError


def run_kubectl(
    kubeconfig: Path,
    arguments: Sequence[str],
    *,
    input: str | None = None,
    within: float = 60,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs it with this kubeconfig, whatever the ambient one says.

    Raises `ClusterError` with kubectl's own message if it fails (unless `check` is False),
    and `subprocess.TimeoutExpired` after `within` seconds.
    """
    kubectl = binaries.ensure(binaries.KUBERNETES)
    done = subprocess.run(
        [str(kubectl), "kubectl", f"--kubeconfig={kubeconfig}", *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=within,
        env=os.environ | {"NO_PROXY": "*", "no_proxy": "*"},
        check=False,
    )
    if check and done.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done
