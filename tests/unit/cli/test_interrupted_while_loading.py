"""Ctrl-C before the first step: nothing is said to be saved, and nothing to go on from."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from unit.cli.replaced import replaced
from unit.cli.statuses import bundled, complete, optimized, running

from luthier_cli.errors import Exit
from luthier_cli.order import read_manifests
from luthier_cli.run import goes_on
from luthier_cli.several import run_all

# In the trainer's place: someone presses Ctrl-C while it loads.
TRAINER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""


def test_ctrl_c_while_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, options = replaced(TRAINER, tmp_path, monkeypatch)
    screen = Console(file=io.StringIO(), width=200)
    manifests = read_manifests(file, options)
    assert run_all(manifests, options, screen, screen, lambda _: None) == Exit.INTERRUPTED
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert "stopping … (Ctrl-C again: stop at once)" in shown
    assert "interrupted: no checkpoint was made: the same command begins again" in shown
    assert "saving" not in shown
    assert "the last checkpoint" not in shown


def test_what_the_same_command_does() -> None:
    assert goes_on(running()) == "the same command goes on from the last checkpoint"
    assert "no checkpoint was made" in goes_on(complete())
    assert goes_on(optimized()) == "the same command goes on with what is left"
    assert goes_on(bundled()) == "the same command begins again"
