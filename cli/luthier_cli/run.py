"""`luthier run`: a manifest on this machine, without Kubernetes."""

import getpass
import importlib.util
import os
import secrets
import socket
import tempfile
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from luthier_api.kinds import ADAPTER_BUNDLE, FINE_TUNE_JOB, KINDS, OPTIMIZE_JOB
from luthier_api.progress import ProgressReport
from luthier_api.result import BundleResult, OptimizeResult, RunError, RunResult
from luthier_api.runspec import RunSpec, S3Access, write_order
from luthier_cli import (
    configmaps,
    local,
    localstate,
    receiver,
    references,
    remedies,
    trainerlog,
)
from luthier_cli.display import Display
from luthier_cli.errors import CliError
from luthier_cli.localstate import AnyOrder
from luthier_cli.order import Options, Order, output_uri
from luthier_cli.state import Resource
from luthier_cli.summary import Extras, parse_samples
from luthier_cli.trainer_process import TrainerProcess

_Latest = deque[ProgressReport]
_Result = RunResult | OptimizeResult | BundleResult

_TICK_SECONDS = 0.2
_LOG_TAIL_LINES = 20
# Of each kind: what Ctrl-C does, and what comes of it.
STOPS = {
    FINE_TUNE_JOB: "saves a checkpoint and stops",
    OPTIMIZE_JOB: "stops; what was built and measured is kept",
    ADAPTER_BUNDLE: "stops",
}
_GOES_ON = {
    FINE_TUNE_JOB: "the same command goes on from the last checkpoint",
    OPTIMIZE_JOB: "the same command goes on with what is left",
    ADAPTER_BUNDLE: "the same command begins again",
}


def execute(order: Order, options: Options, display: Display) -> tuple[Resource, Extras, int]:
    """Run the trainer to its end; its state, what there is to see, and its exit code."""
    _require_trainer()
    manifest = order.manifest
    output = output_uri(manifest, options)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "luthier"
    logs = cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(32)
    reports: _Latest = deque(maxlen=1)
    with (
        tempfile.TemporaryDirectory(prefix="luthier-") as scratch,
        receiver.receive(token, reports.append) as base_url,
    ):
        folder = Path(scratch)
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        configmaps.write(order.config_maps, folder / "configmaps")
        place = local.Place(
            output=output,
            owner="local" if output.startswith("file://") else f"{_user()}@{socket.gethostname()}",
            cache_dir=str(cache),
            scratch_dir=scratch,
            config_maps_dir=str(folder / "configmaps"),
            hub_endpoint=os.environ.get("HF_ENDPOINT"),
            mlflow_uri=os.environ.get("MLFLOW_TRACKING_URI"),
            storage=_storage(options),
            receiver=base_url,
            token_file=str(token_file),
        )
        packages = references.packages(output, manifest.namespace, manifest.name)
        run_order = local.build_order(order, place, packages)
        finished = _is_finished(run_order.output)
        log = logs / f"{manifest.namespace}-{manifest.name}-{run_order.run.revision}.log"
        # Of a finished run's result nothing is said anew.
        begin = 0 if finished else trainerlog.end_of(log)
        started = datetime.now(UTC)
        result_file = folder / "result.json"
        code, interrupts = _supervise(run_order, folder, result_file, log, reports, display)
        last = _last_known(run_order, reports)
        result = _read_result(result_file, last, code, interrupts, log)
        if result.error:
            error = remedies.here(
                result.error, place.storage.endpoint, manifest.kind, manifest.spec.to_json()
            )
            result = result.model_copy(update={"error": error})
    state = localstate.ended(run_order, started, datetime.now(UTC), result)
    extras = replace(
        _extras(run_order.output, result, log),
        finished_before=finished,
        warnings=trainerlog.warnings_of(log, begin),
    )
    return state, extras, code


def goes_on(state: Resource) -> str:
    """What comes of a run that was interrupted, as its state tells."""
    kind = KINDS[state["kind"]]
    if kind is FINE_TUNE_JOB and not state["status"].get("checkpoints"):
        # Interrupted while it loads, it hasn't looked for those of earlier starts.
        return "no checkpoint was made: the same command begins again, or goes on from an older one"
    return _GOES_ON[kind]


def _supervise(
    order: AnyOrder,
    folder: Path,
    result_file: Path,
    log: Path,
    reports: _Latest,
    display: Display,
) -> tuple[int, int]:
    """Exit code, and how many times it was interrupted."""
    file = folder / "runspec.json"
    file.write_text(write_order(order))
    started = datetime.now(UTC)
    display.show(localstate.running(order, started, None, started))
    shown, told, deadline = None, 0, float("inf")
    with TrainerProcess(file, log, {"LUTHIER_TERMINATION_LOG": str(result_file)}) as trainer:
        while True:
            code = trainer.wait(_TICK_SECONDS)
            # Said even when the trainer has ended since: it tells what Ctrl-C did.
            if trainer.interrupts > told:
                told = trainer.interrupts
                deadline = time.monotonic() + order.grace_seconds
                display.say(f"{_stopping(order, reports)} … (Ctrl-C again: stop at once)")
            if code is not None:
                break
            if reports and reports[-1] is not shown:
                shown = reports[-1]
                now = datetime.now(UTC)
                display.show(localstate.running(order, started, shown, now))
            if time.monotonic() > deadline:
                trainer.kill()
    return code, trainer.interrupts


def _stopping(order: AnyOrder, reports: _Latest) -> str:
    """What an interrupted trainer does: before it trains there is nothing to save.

    The stage is told at once, steps only every few seconds.
    """
    progress = reports[-1].progress if reports else None
    trained = progress is not None and (progress.stage == "Training" or progress.step > 0)
    return "saving a checkpoint" if trained and isinstance(order, RunSpec) else "stopping"


def _read_result(file: Path, last: _Result, code: int, interrupts: int, log: Path) -> _Result:
    """What the trainer left; its last report and exit code if it died without a word."""
    try:
        return type(last).read_json(file.read_bytes())
    except (OSError, ValidationError):
        pass
    if interrupts:
        return last
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = " (out of memory?)" if code == -9 else ""
    words = f"the trainer {how}{hint}\n"
    tail = trainerlog.tail(log, _LOG_TAIL_LINES)[-1400:]
    error = RunError(code="TrainerDied", message=words + tail)
    return last.model_copy(update={"outcome": "Failed", "error": error})


def _last_known(order: AnyOrder, reports: _Latest) -> _Result:
    """An interrupted run's result, as far as its reports tell."""
    kind, run = localstate.result_type(order), order.run
    known = {
        name: getattr(reports[-1], name)
        for name in kind.model_fields.keys() & ProgressReport.model_fields.keys()
        if reports
    }
    return kind(revision=run.revision, attempt=run.attempt, outcome="Interrupted", **known)


def _require_trainer() -> None:
    missing = [
        name
        for name in ("luthier_trainer", "torch", "transformers")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise CliError(
            f"the trainer isn't installed here (no {', '.join(missing)})",
            "pip install 'luthier[trainer]'",
        )


def _storage(options: Options) -> S3Access:
    environment = os.environ
    return S3Access(
        endpoint=options.s3_endpoint
        or environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL"),
        region=options.s3_region
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION"),
        ca_file=environment.get("AWS_CA_BUNDLE"),
        # Someone is waiting in front of the screen.
        retry_seconds=30,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _is_finished(output: str) -> bool:
    """Whether a folder holds a result already: it is given again, and nothing is run."""
    folder = references.folder_of(output)
    return folder is not None and (folder / "manifest.json").exists()


def _extras(output: str, result: _Result, log: Path) -> Extras:
    folder = references.folder_of(output)
    if folder is None:
        return Extras(log=str(log))
    page = folder / "report" / "index.html"
    report = _shown(page) if page.exists() else None
    if result.outcome != "Succeeded":
        # Candidates that all miss a gate are reported on, too.
        return Extras(report=report, log=str(log))
    files = [
        (str(path.relative_to(folder)), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _is_result(path.relative_to(folder))
    ]
    curve, samples = folder / "report" / "loss.png", folder / "report" / "samples.json"
    return Extras(
        folder=_shown(folder),
        files=files,
        report=report,
        loss_curve=str(curve) if curve.exists() else None,
        samples=parse_samples(samples.read_text("utf-8")) if samples.exists() else (),
        log=str(log),
    )


def _shown(folder: Path) -> str:
    """As short as a shell takes it from here."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _is_result(path: Path) -> bool:
    """Whether a file is for the user: not a checkpoint, nor the trainer's own notes."""
    return path.parts[0] not in ("checkpoints", "attempts", "claim.json")
