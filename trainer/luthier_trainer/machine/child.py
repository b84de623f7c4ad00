"""Programs that run beside the trainer: with a time limit, and gone when the trainer stops."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from luthier_trainer import credentials
from luthier_trainer.machine.runtime import ALLOCATOR

_LINES, _WIDTH = 12, 300
# `python -m` looks for every module in the current folder first, which may be anybody's.
_ISOLATED = {"PYTHONSAFEPATH": "1"}


class ChildError(Exception):
    """It ended with an error, or not in time. `killed`: by SIGKILL, as for lack of memory."""

    def __init__(self, problem: str, output: str, *, killed: bool = False) -> None:
        super().__init__(f"{problem}: {output}" if output else problem)
        self.killed = killed


def run(
    command: Sequence[str], log: Path, seconds: float, environment: Mapping[str, str] | None = None
) -> None:
    """Run `command` with its output in the file `log`; it and its children end when this
    process is interrupted. Raises ChildError with the last lines that it wrote."""
    # Those of the training would make memory that was freed count as in use.
    # And no credentials: what is built and measured is on this machine already.
    left_out = {*ALLOCATOR, *credentials.in_environment()}
    inherited = {k: v for k, v in os.environ.items() if k not in left_out}
    process: subprocess.Popen[bytes] | None = None
    # An interrupt within Popen would orphan what it has just started.
    release = _hold(signal.SIGTERM, signal.SIGINT)
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**inherited, **_ISOLATED, **(environment or {})},
                start_new_session=True,
            )
        release()
        code = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"it wasn't done after {seconds:.0f} s", _tail(log)) from error
    finally:
        release()
        if process and process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        raise ChildError(f"exit code {code}", _tail(log), killed=code == -signal.SIGKILL)


def _hold(*numbers: int) -> Callable[[], None]:
    """Hold signals back until the function that is returned is called: it lets them come. By
    handlers and not by a mask, since other threads would take them. Main thread only."""
    came: list[int] = []
    handlers = {n: signal.signal(n, lambda number, _: came.append(number)) for n in numbers}

    def release() -> None:
        while handlers:
            signal.signal(*handlers.popitem())
        while came:
            signal.raise_signal(came.pop())

    return release


def _tail(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as lines:
        last = deque((line.strip() for line in lines if line.strip()), maxlen=_LINES)
    return " | ".join(line[-_WIDTH:] for line in last)
