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
    assert not any("not matrix" in stage.command for stage in every)


def test_the_matrices_are_left_out(script: dict[str, Any]) -> None:
    every = script["stages"](2, False, "fixed")
    assert [stage.name for stage in every if "not matrix" in stage.command] == ["tests", "e2e"]


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
