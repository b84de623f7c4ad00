"""What a start costs: nothing heavy is loaded before it is needed."""

import subprocess
import sys

import pytest
from unit.cli.command import luthier

COMMANDS = (
    "validate",
    "run",
    "watch",
    "logs",
    "retry",
    "rerun",
    "history",
    "compare",
    "promote",
    "usage",
)
# pydantic is Typer's own.
HEAVY = ("torch", "kubernetes", "luthier_api", "transformers", "boto3", "cel", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["version", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from luthier_cli.main import app\n"
        f"try: app({arguments!r})\n"
        f"finally: print('loaded:', sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "loaded: []" in done.stderr


@pytest.mark.parametrize("command", [*COMMANDS, "version"])
def test_every_command_explains_itself(command: str) -> None:
    done = luthier(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: python -m luthier_cli {command}" in done.stdout
    assert command == "version" or f"luthier {command}" in done.stdout.split("Usage", 1)[1]


def test_a_wrong_option_is_explained() -> None:
    done = luthier("watch", "tone", "--namspace", "x")
    assert done.returncode == 2
    assert "--namspace" in done.stderr
    assert "Traceback" not in done.stderr


def test_version() -> None:
    done = luthier("version")
    assert done.returncode == 0
    assert "API luthier.dev/v1alpha1" in done.stdout
