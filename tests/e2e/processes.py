"""Faults that hit a pod's process."""

import os
import signal

from luthier_cluster import processes


def kill_in_pod(pod_uid: str, word: str) -> None:
    """SIGKILL the process of that pod whose command line holds `word`, as the kernel would."""
    os.kill(processes.in_pod(pod_uid, word), signal.SIGKILL)
