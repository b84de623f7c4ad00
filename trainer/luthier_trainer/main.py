"""From run spec to result: the stages of a run, in order.

Each stage that can fail cheaply comes before those that cost: nothing slow is imported
until the run spec, storage, model folder and data have been checked.
"""

import os
import sys
import traceback
from pathlib import Path

from pydantic import ValidationError

from luthier_api.result import ExitCode, RunResult
from luthier_api.runspec import TERMINATION_LOG_PATH, RunSpec
from luthier_trainer.errors import Interrupted, Superseded, TrainerError, from_exception
from luthier_trainer.log import log
from luthier_trainer.run import Run
from luthier_trainer.runtime import restart_with_settings

_USAGE = "usage: python -m luthier_trainer RUNSPEC.json"


def main() -> None:
    """Run, write the result, and exit with the code that says whose fault it was."""
    if len(sys.argv) != 2:
        raise SystemExit(_USAGE)
    try:
        spec = _read_spec(Path(sys.argv[1]))
    except TrainerError as failure:
        log(f"failed: {failure}")
        # Revision and attempt are unknown: the spec that holds them can't be read.
        _finish(
            RunResult(revision="", attempt=0, outcome="Failed", error=failure.error),
            failure.exit_code,
        )
    restart_with_settings(spec.scratch_dir)
    _finish(*_execute(spec))


def _execute(spec: RunSpec) -> tuple[RunResult, ExitCode]:
    run = Run(spec)
    try:
        run.interrupt.install()
        return run.execute(), ExitCode.SUCCEEDED
    except Superseded:
        # Only this pod's own record: so that nobody waits for it.
        run.record_end("Interrupted", "Superseded")
        log("stopped: another pod or attempt has this run now; nothing is published")
        return run.result("Interrupted"), ExitCode.INTERRUPTED
    except Interrupted:
        run.record_end("Interrupted", None)
        log("interrupted")
        return run.result("Interrupted"), ExitCode.INTERRUPTED
    except Exception as error:
        failure = from_exception(error)
        if failure.exit_code == ExitCode.INTERNAL:
            traceback.print_exc()
        log(f"failed: {failure}")
        run.record_end("Failed", failure.error.code)
        return run.result("Failed", failure), failure.exit_code


def _read_spec(path: Path) -> RunSpec:
    try:
        return RunSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        problem = f"{path}: {error.strerror}"
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = f"{path}: {place}: {first['msg']}"
    raise TrainerError(
        ExitCode.INVALID_RUN_SPEC,
        "InvalidRunSpec",
        f"{problem}; operator and trainer image may be of different versions",
    )


def _finish(result: RunResult, code: ExitCode) -> None:
    text = result.to_bytes().decode()
    target = Path(os.environ.get("LUTHIER_TERMINATION_LOG", TERMINATION_LOG_PATH))
    try:
        # The kubelet makes /dev/termination-log; elsewhere there is none, and none is made.
        if "LUTHIER_TERMINATION_LOG" not in os.environ and not target.exists():
            raise FileNotFoundError(target)
        target.write_text(text)
    except OSError:
        print(text, flush=True)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads (uploads, torch) must not keep an ended run alive.
    os._exit(code)
