"""What the trainer's log warned of stands at the end of `luthier run`, whatever came of it."""

from pathlib import Path
from typing import Any

import pytest
from unit.cli.replaced import replaced

from luthier_cli import run as running
from luthier_cli.display import Display
from luthier_cli.order import read_order
from luthier_cli.state import Resource
from luthier_cli.summary import summarize

WARNING = "data: keys of messages that nothing learns from: weight"
# In the trainer's place: its log, and an end without a result.
TRAINER = f"""
import sys
print("     0.1s data: 3 rows", file=sys.stderr)
print("     0.2s warning: {WARNING}", file=sys.stderr)
sys.exit(70)
"""


class Quiet(Display):
    def show(self, resource: Resource) -> None: ...

    def say(self, note: str) -> None: ...


def test_of_a_run_that_failed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, options = replaced(TRAINER, tmp_path, monkeypatch)
    order = read_order(file, options)
    for _ in range(2):  # the log goes on; what it said before isn't said anew
        state, extras, code = running.execute(order, options, Quiet())
        summary: dict[str, Any] = summarize(state, extras)
        assert (code, summary["reason"]) == (70, "TrainerDied")
        assert summary["warnings"] == [WARNING]
    log = Path(summary["log"]).read_text()
    assert log.count(WARNING) == 2
