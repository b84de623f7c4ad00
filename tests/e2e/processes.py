"""Faults that hit a pod's process."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from e2e.runs import Run, checkpointed, eventually

from luthier_api.runspec import RUNSPEC_PATH
from luthier_cluster import processes


def kill_in_pod(pod_uid: str, word: str) -> None:
    """SIGKILL the process of that pod whose command line holds `word`, as the kernel would."""
    os.kill(processes.in_pod(pod_uid, word), signal.SIGKILL)


def trainer_of(run: Run, pod: str) -> int:
    """Process id of a pod's trainer, which alone is told the path of the order."""
    found = run.api.get("pods", run.namespace, pod)
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


@dataclass(frozen=True)
class Held:
    """A run whose trainer stands still in the middle."""

    run: Run
    pod: str
    pid: int

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def release(self) -> None:
        """Can be repeated, also when it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


def hold_at(runs: Mapping[str, Run], steps: Mapping[str, int], within: float = 300) -> list[Held]:
    """Each of the runs, stopped as soon as it has a complete checkpoint of so many steps.

    Together, so that their pods start at the same time. A trainer is looked for as soon as it runs:
    nothing slow comes between the checkpoint and the stop.
    """
    trainers: dict[str, tuple[str, int]] = {}
    folders: dict[str, str] = {}
    held: dict[str, Held] = {}

    def all_held() -> bool:
        for name, run in runs.items():
            if name in held:
                continue
            if name not in trainers:
                with suppress(LookupError, StopIteration):
                    pod = next(
                        str(it["metadata"]["name"])
                        for it in run.pods()
                        if it["status"].get("phase") == "Running"
                    )
                    folders[name] = run.output_uri
                    trainers[name] = (pod, trainer_of(run, pod))
            elif max(checkpointed(run, folders[name]), default=0) >= steps[name]:
                held[name] = Held(run, *trainers[name])
                held[name].stop()
        return len(held) == len(runs)

    try:
        eventually(f"all of {', '.join(runs)} have their checkpoints", all_held, within, every=0.02)
    except AssertionError as error:
        late = [run.story() for name, run in runs.items() if name not in held]
        raise AssertionError("\n".join([str(error), *late])) from None
    finally:
        if len(held) < len(runs):
            for each in held.values():
                each.release()
    return [held[name] for name in runs]
