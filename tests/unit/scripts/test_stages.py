"""The runner of all tests: what it runs, and what it ends with."""

import subprocess
import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
TESTS = list(ROOT.glob("tests/**/test_*.py"))


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    # As a module: its dataclasses look for their own.
    sys.modules.setdefault("stages_under_test", type(sys)("stages_under_test"))
    return run_path(str(ROOT / "scripts/test.py"), run_name="stages_under_test")


def test_every_test_belongs_to_one_stage(script: dict[str, Any]) -> None:
    every = script["stages"](2, True, "fixed")
    words = [word for stage in every for word in stage.command if word.startswith("tests/")]
    there = {f"tests/{file.parent.relative_to(ROOT / 'tests').parts[0]}" for file in TESTS}
    assert sorted(words) == sorted(there - {"tests/gpu"})
    assert all("matrix" not in marks_of(stage) for stage in every)


def marks_of(stage: Any) -> str:
    """What a stage's tests are chosen by; empty for one that isn't pytest's."""
    command = stage.command
    return str(command[command.index("-m", 3) + 1]) if "pytest" in command else ""


def test_the_matrices_are_left_out(script: dict[str, Any]) -> None:
    every = script["stages"](2, False, "fixed")
    assert [stage.name for stage in every if "not matrix" in marks_of(stage)] == ["tests", "e2e"]


@pytest.mark.parametrize("matrices", [False, True])
def test_what_lasts_has_a_target_of_its_own(script: dict[str, Any], matrices: bool) -> None:
    every = script["stages"](2, matrices, "fixed")
    assert all("not faults" in marks_of(it) for it in every if "pytest" in it.command)
    prepared, lasting = script["faults"](2, "fixed")
    assert prepared == every[2]
    assert marks_of(lasting) == "faults"
    marked = {file for file in TESTS if "pytest.mark.faults" in file.read_text()}
    folders = [ROOT / word for word in lasting.command if word.startswith("tests/")]
    assert all(any(file.is_relative_to(it) for it in folders) for file in marked - {Path(__file__)})


def test_a_failure_is_told_and_the_slowest_are_named(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script["run"].__globals__, "REPORTS", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import time\n"
        "def test_slow(): time.sleep(0.2)\n"
        "def test_quick(): ...\n"
        "def test_wrong(): assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)]
    stage = script["Stage"]("here", "words", [*command, f"--junitxml={tmp_path}/here.xml"])
    ended = script["run"](stage)
    assert (ended.code, ended.good, ended.interrupted) == (1, False, False)
    text = script["summary"]([ended])
    assert "failed (1)" in text
    assert text.index("test_slow") < text.index("test_quick")


def test_an_unknown_stage_is_told_with_those_that_there_are() -> None:
    command = [sys.executable, str(ROOT / "scripts/test.py"), "--stage", "nonesuch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no stage nonesuch; lint, generated" in done.stderr
