"""Processes of a pod, as the node sees them."""

import os
import signal
from pathlib import Path


def kill_in_pod(pod_uid: str, word: str) -> None:
    """SIGKILL the process of that pod whose command line holds `word`, as the kernel would."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            cgroup = (process / "cgroup").read_text()
        except OSError:  # it has just ended
            continue
        if word in command and pod_uid in cgroup.replace("_", "-"):
            os.kill(int(process.name), signal.SIGKILL)
            return
    raise AssertionError(f"no process with {word!r} in pod {pod_uid}")
