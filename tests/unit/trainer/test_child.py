"""Programs beside the trainer end with it, whenever the stop comes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier_trainer.errors import Interrupted
from luthier_trainer.machine import child
from luthier_trainer.pod.interrupt import Interrupt


@pytest.fixture
def installed() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    Interrupt(30).install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("installed")
def test_a_stop_that_comes_while_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Stopped(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            started.append(self.pid)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Stopped)
    with pytest.raises(Interrupted):
        child.run(["sleep", "60"], tmp_path / "log", 60)
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


@pytest.mark.usefixtures("installed")
def test_a_program_that_is_not_there_leaves_the_handlers_as_they_were(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(FileNotFoundError):
        child.run(["no-such-program"], tmp_path / "log", 60)
    assert signal.getsignal(signal.SIGTERM) == before
