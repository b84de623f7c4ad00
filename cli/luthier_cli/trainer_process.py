"""The trainer as a child process, in the trainer's own terms: SIGTERM saves and ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

# Ctrl-C, a closed terminal, and `kill`: all stop the trainer gently.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class TrainerProcess:
    """A context: the trainer runs within it, and never outlives it.

    It has a session of its own, so that Ctrl-C reaches us alone. The first signal
    is passed on as SIGTERM (it saves a checkpoint), the second as SIGKILL.
    """

    def __init__(self, run_spec: Path, log: Path, env: dict[str, str]) -> None:
        self.interrupts = 0
        self._command = [sys.executable, "-m", "luthier_trainer", str(run_spec)]
        self._log = log
        # `python -m` would import what lies in the current folder: a cloned model's numpy.py. By
        # the environment, so that it holds of what the trainer starts, too.
        self._env = os.environ | env | {"PYTHONSAFEPATH": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # First the handlers: a signal that comes during the start isn't lost.
        self._before = {number: signal.signal(number, self._pass_on) for number in _SIGNALS}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._env,
            )
        if self.interrupts:
            self._process.terminate()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it still runs after `seconds`."""
        assert self._process is not None, "not started"
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it and whatever it started."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _pass_on(self, _signal: int, _frame: FrameType | None) -> None:
        self.interrupts += 1
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if self.interrupts == 1 else signal.SIGKILL)
