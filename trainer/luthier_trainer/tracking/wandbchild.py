"""A program that tells W&B what it reads: a call a line, as JSON, and an answer to each.

    python -I wandbchild.py [FOLDER OF PACKAGES]

It imports W&B's client and the standard library alone. A hang or a crash of it is no harm to a
training.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

# What else it would find out about machine and code, and tell.
_QUIET = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
}


class Child:
    """One run."""

    def __init__(self) -> None:
        self._run: Any = None

    def open(self, settings: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
        """`step`: the last that is there. Offline it is always a new file."""
        import wandb

        self._run = wandb.init(**run, settings=wandb.Settings(**_QUIET, **settings))
        return {
            "step": self._run.step - 1,
            "url": self._run.url,
            "folder": self._run.settings.sync_dir,
        }

    def know(self, config: dict[str, Any]) -> dict[str, Any]:
        self._run.config.update(config, allow_val_change=True)
        return {}

    def measure(self, points: list[dict[str, Any]]) -> dict[str, Any]:
        for point in points:
            self._run.log({**point["values"], "_timestamp": point["time"]}, step=point["step"])
        return {}

    def end(self, summary: dict[str, Any], code: int) -> dict[str, Any]:
        self._run.summary.update(summary)
        import wandb

        self._run.finish(exit_code=code)
        # Its service writes the end of the run's file when it is closed itself.
        wandb.teardown(exit_code=code)
        return {}


def main() -> None:
    """Answers go where the standard output went; what others print goes to the errors."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    child = Child()
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = getattr(child, call.pop("do"))(**call)
        except Exception as error:
            _answer(answers, {"error": type(error).__name__, "told": str(error)[:500]})
        else:
            _answer(answers, answer)
    # The trainer is gone, or doesn't wait for what isn't told yet.
    os._exit(0)


def _answer(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    # Not from the folder of this file, whose modules are the trainer's.
    here = Path(__file__).parent
    sys.path[:] = [*sys.argv[1:], *(it for it in sys.path if Path(it or ".").resolve() != here)]
    main()
