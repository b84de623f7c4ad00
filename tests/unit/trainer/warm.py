"""Processes that begin with their imports done: forked from a server that has them.

Of a run of a tiny model 5 of 7 seconds are imports. These are for tests of what a run does, not of
how its process starts.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from typing import IO, Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "peft",
        "luthier_trainer.finetune.finetune",
        "luthier_trainer.training.loop",
        "onnxruntime_genai.models.builder",
    ]
)
_SLOW = ("luthier_trainer.optimize.benchmark", "onnxruntime_genai.models.builder")


class WarmProcess:
    """As subprocess.Popen of `python [-P] -m MODULE ARGUMENTS`, its output in a file."""

    def __init__(
        self, command: Sequence[str], *, stdout: IO[bytes], env: Mapping[str, str], **_: Any
    ) -> None:
        words = [word for word in command if word != "-P"]
        assert words[:2] == [sys.executable, "-m"], command
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_run, args=(words[2:], dict(env), stdout.name), daemon=True
        )
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self) -> int | None:
        self._process.join(0)
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("warm", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _run(words: Sequence[str], environment: Mapping[str, str], output: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv[:] = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def popen(command: Sequence[str], **settings: Any) -> Any:
    """A warm process for those that have much to import."""
    warm = command[1:2] == ["-m"] and command[2] in _SLOW
    return (WarmProcess if warm else subprocess.Popen)(command, **settings)


class PatchedSubprocess:
    """What child.py takes of the module."""

    Popen = staticmethod(popen)
    DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT
    TimeoutExpired = subprocess.TimeoutExpired
