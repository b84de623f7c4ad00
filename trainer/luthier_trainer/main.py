"""From order to result: the run of the kind that the order is of.

In each, the stages that can fail cheaply come before those that cost: nothing slow is imported
until the order, storage, sources and data have been checked.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from luthier_api.meta import first_error
from luthier_api.release import release
from luthier_api.result import ExitCode, RunEnd
from luthier_api.runspec import (
    TERMINATION_LOG_PATH,
    AnyOrder,
    BundleOrder,
    KeepOrder,
    OptimizeOrder,
    ProbeOrder,
    RunSpec,
    read_order,
    shapes_result,
    unknown_fields,
)
from luthier_api.visible import in_json
from luthier_trainer import credentials
from luthier_trainer.distributed.launch import launch
from luthier_trainer.distributed.place import LOCAL_RANK, place_of, processes
from luthier_trainer.errors import Interrupted, Superseded, TrainerError, from_exception
from luthier_trainer.log import log, log_traceback
from luthier_trainer.machine.runtime import collect_rarely, restart_with_settings
from luthier_trainer.pod.pod import Pod
from luthier_trainer.pod.usercode import has_code
from luthier_trainer.redaction import redacted_values

_SHOWN = 8  # of unknown fields: a message has an end
_USAGE = "usage: python -m luthier_trainer RUNSPEC.json"


class AnyRun(Protocol):
    """A run of any kind, in one pod."""

    pod: Pod

    def execute(self) -> RunEnd:
        """All of it. Raises TrainerError, Interrupted or Superseded."""
        ...

    def result(self, outcome: str, failure: TrainerError | None = None) -> RunEnd:
        """What is known now, as the end of this pod."""
        ...


def main() -> None:
    """Run, write the result, and exit with the code that says whose fault it was."""
    if len(sys.argv) != 2:
        raise SystemExit(_USAGE)
    _log_what_nobody_catches()
    collect_rarely()
    credentials.take_over()
    try:
        order = _read(Path(sys.argv[1]))
    except TrainerError as failure:
        log(f"failed: {failure}")
        # Revision and attempt are unknown: the order that holds them can't be read.
        _finish(
            RunEnd(revision="", attempt=0, outcome="Failed", error=failure.error),
            failure.exit_code,
        )
    if (count := processes(order)) > 1 and LOCAL_RANK not in os.environ:
        # os._exit: nothing of this process may outlive the others.
        os._exit(launch(order, count))
    # Code of the user's finds no credentials in its environment, nor in /proc.
    restart_with_settings(order.scratch_dir, order.gpus, apart=has_code(order))
    _finish(*_execute(run_of(order)))


def run_of(order: AnyOrder) -> AnyRun:
    """The run that does what the order asks for."""
    match order:
        case RunSpec() if order.fine_tuning.search:
            from luthier_trainer.search.run import SearchRun

            return SearchRun(order)
        case RunSpec() if not place_of(order).is_first:
            from luthier_trainer.finetune.peer import Peer

            return Peer(order)
        case RunSpec():
            from luthier_trainer.finetune.run import Run

            return Run(order)
        case OptimizeOrder():
            from luthier_trainer.optimize.run import Optimization

            return Optimization(order)
        case BundleOrder():
            from luthier_trainer.bundle.run import BundleRun

            return BundleRun(order)
        case ProbeOrder():
            from luthier_trainer.errands.probe import Probe

            return Probe(order)
        case KeepOrder():
            from luthier_trainer.errands.keep import Keep

            return Keep(order)


def _execute(run: AnyRun) -> tuple[RunEnd, ExitCode]:
    pod = run.pod
    try:
        pod.interrupt.install()
        return run.execute(), ExitCode.SUCCEEDED
    except Superseded:
        # Only this pod's own record: so that nobody waits for it.
        pod.record_end("Interrupted", "Superseded")
        log("stopped: another pod or attempt has this run now; nothing is published")
        return run.result("Interrupted"), ExitCode.INTERRUPTED
    except Interrupted:
        return _interrupted(run)
    except Exception as error:
        failure = from_exception(error, pod.order.run.kind)
        if failure.exit_code == ExitCode.INTERNAL:
            if pod.interrupt.requested:  # extension modules tell it so while they are imported
                return _interrupted(run)
            log_traceback(error)
        log(f"failed: {failure}")
        pod.record_end("Failed", failure.error.code)
        return run.result("Failed", failure), failure.exit_code


def _interrupted(run: AnyRun) -> tuple[RunEnd, ExitCode]:
    run.pod.record_end("Interrupted", None)
    log("interrupted")
    return run.result("Interrupted"), ExitCode.INTERRUPTED


def _read(path: Path) -> AnyOrder:
    try:
        document = path.read_bytes()
        order = read_order(document)
        unknown = unknown_fields(document)
        if shaping := [field for field in unknown if shapes_result(field)]:
            raise _unknown(shaping)
        if unknown:
            log(f"warning: fields of the order are ignored: {', '.join(unknown)}; {_skew()}")
        return order
    except OSError as error:
        problem = f"{path}: {error.strerror}"
    except ValidationError as error:
        problem = ": ".join((str(path), *first_error(error)))
    raise TrainerError(ExitCode.INVALID_RUN_SPEC, "InvalidRunSpec", f"{problem}; {_skew()}")


def _unknown(fields: list[str]) -> TrainerError:
    """The result would silently lack what they ask for, and people would take it for one that
    has it."""
    part, _, first = fields[0].partition(".")
    param = first if part in ("fineTuning", "optimizing", "bundling") else None
    return TrainerError(
        ExitCode.INVALID_RUN_SPEC,
        "InvalidRunSpec",
        f"the order asks for what this trainer doesn't know ({', '.join(fields[:_SHOWN])}), and "
        f"its result would lack it; {_skew()}, and run `luthier retry`; or remove the field",
        param,
    )


def _skew() -> str:
    """What to do about an order that this version can't read."""
    return (
        f"operator and trainer (this one is of {release()}) may be of different versions, and at "
        "most one minor version apart: give the pool the image of the operator's release"
    )


def _log_what_nobody_catches() -> None:
    """Through the log, which hides secrets: in threads, and where the end itself fails."""

    def logged(error: BaseException | None) -> None:
        if error is not None:
            log_traceback(error)

    sys.excepthook = lambda _, error, __: logged(error)
    threading.excepthook = lambda it: logged(it.exc_value)


def _finish(result: RunEnd, code: ExitCode) -> None:
    text = redacted_values(result).to_bytes().decode()
    target = Path(os.environ.get("LUTHIER_TERMINATION_LOG", TERMINATION_LOG_PATH))
    try:
        # The kubelet makes /dev/termination-log; elsewhere there is none, and none is made.
        if "LUTHIER_TERMINATION_LOG" not in os.environ and not target.exists():
            raise FileNotFoundError(target)
        target.write_text(text)
    except OSError:
        print(in_json(text), flush=True)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads (uploads, torch) must not keep an ended run alive.
    os._exit(code)
