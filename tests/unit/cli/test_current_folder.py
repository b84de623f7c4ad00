"""Python that lies in the current folder, as in a model's that was cloned, is never run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.cli.command import environment
from unit.cli.tiny import MANIFEST

from luthier_cli.trainer_process import TrainerProcess
from luthier_trainer.machine import child

# What a trainer imports early, late, and in passing.
HIDING = ("json", "pathlib", "datetime", "locale", "pydantic", "numpy", "torch", "sitecustomize")


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in HIDING:
        text = "import builtins\nopen(__file__ + '.ran', 'w').close()\nraise SystemExit(9)\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def ran(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.ran")]


def test_the_trainer_of_a_run(cloned: Path, tmp_path: Path) -> None:
    """By the installed program: Python itself puts the current folder first for `python -m`."""
    manifest, data = tmp_path / "things.yaml", tmp_path / "data.jsonl"
    manifest.write_text(MANIFEST)
    data.write_text("{")
    luthier = Path(sys.executable).with_name("luthier")
    done = subprocess.run(
        [luthier, "run", manifest, "--model", ".", "--dataset", data, "--output", tmp_path / "out"],
        cwd=cloned,
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran(cloned) == []
    assert done.returncode == 1, done.stderr
    assert "ModelNotFound" in done.stdout  # the trainer's own word


def test_what_the_trainer_is_started_with(
    cloned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cloned)
    with TrainerProcess(tmp_path / "no-order.json", tmp_path / "log", {}) as trainer:
        assert trainer.wait(120) == 64, (tmp_path / "log").read_text()
    assert ran(cloned) == []


def test_programs_beside_the_trainer(
    cloned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cloned)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    child.run([sys.executable, "-m", "calendar", "2026"], tmp_path / "log", 60)
    assert ran(cloned) == []
    assert "January" in (tmp_path / "log").read_text()
    assert os.environ.get("PYTHONSAFEPATH") is None
