"""Which tests a change reaches."""

import ast
import subprocess
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return run_path(str(ROOT / "scripts/changed_tests.py"))


@pytest.fixture(scope="module")
def files() -> list[Path]:
    found = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(line) for line in found.stdout.splitlines() if (ROOT / line).exists()]


@pytest.mark.parametrize(
    ("changed", "test", "distance"),
    [
        ("crds/luthier_api/structural.py", "tests/unit/api/test_structural.py", 1),
        (
            "tests/unit/trainer/tiny.py",
            "tests/unit/trainer/test_load.py",
            2,
        ),
        ("cluster/luthier_cluster/layout.py", "tests/unit/cluster/test_layout.py", 1),
        ("operator/luthier_operator/queue.py", "tests/unit/operator/test_queue.py", 1),
        ("docs/cli.md", "tests/contract/test_documented.py", 0),
        ("charts/luthier/values.yaml", "tests/unit/chart", 0),
    ],
)
def test_reached(
    script: dict[str, Any], files: list[Path], changed: str, test: str, distance: int
) -> None:
    assert script["reached"]([Path(changed)], files)[test] <= distance


def test_what_it_does_not_reach(script: dict[str, Any], files: list[Path]) -> None:
    found = script["reached"]([Path("cluster/luthier_cluster/dns.py")], files)
    assert not any(name.startswith("tests/unit/api") for name in found)
    assert not any(name.startswith("tests/e2e") for name in found), "these are left out"
    assert list(found.values()) == sorted(found.values()), "nearest first"


def test_imports(script: dict[str, Any]) -> None:
    code = "import a.b, c\nfrom d import e\ndef f():\n    from . import g\n    from ..h import i"
    found = list(script["imports"](ast.parse(code), "top.room.file"))
    assert found == ["a.b", "c", "d", "d.e", "top.room", "top.room.g", "top.h", "top.h.i"]
