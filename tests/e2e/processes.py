"""Faults that hit a pod's process."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from e2e.runs import Run

from luthier_api.runspec import RUNSPEC_PATH
from luthier_cluster import processes


def kill_in_pod(pod_uid: str, word: str) -> None:
    """SIGKILL the process of that pod whose command line holds `word`, as the kernel would."""
    os.kill(processes.in_pod(pod_uid, word), signal.SIGKILL)


def trainer_of(run: Run, pod: str) -> int:
    """Process id of a pod's trainer, which alone is told the path of the order."""
    found = json.loads(run.kubectl("get", "pod", pod, "-o", "json"))
    return processes.in_pod(found["metadata"]["uid"], RUNSPEC_PATH)


@contextmanager
def stopped(run: Run, pod: str) -> Iterator[int]:
    """The trainer stands still where it is: what is done meanwhile hits it in the middle."""
    pid = trainer_of(run, pod)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
