"""`luthier run`: a manifest on this machine, without Kubernetes."""

import getpass
import importlib.util
import json
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

from luthier_api.progress import ProgressReport
from luthier_api.result import BundleResult, OptimizeResult, RunError, RunResult
from luthier_api.runspec import S3Access
from luthier_cli import configmaps, local, localstate, receiver, references
from luthier_cli.display import Display
from luthier_cli.errors import CliError
from luthier_cli.kinds import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB
from luthier_cli.localstate import AnyOrder
from luthier_cli.order import Options, Order, output_uri
from luthier_cli.state import Resource
from luthier_cli.summary import Extras, parse_samples
from luthier_cli.trainer_process import TrainerProcess

_Latest = deque[ProgressReport]
_Result = RunResult | OptimizeResult | BundleResult

_TICK_SECONDS = 0.2
_LOG_TAIL_LINES = 20
# Of each kind: what Ctrl-C does, what is being done then, and what comes of it.
STOPS = {
    FINE_TUNE_JOB: "saves a checkpoint and stops",
    OPTIMIZE_JOB: "stops; what was built and measured is kept",
    ADAPTER_BUNDLE: "stops",
}
_STOPPING = {FINE_TUNE_JOB.name: "saving a checkpoint"}
GOES_ON = {
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
            storage=_storage(options),
            receiver=base_url,
            token_file=str(token_file),
        )
        packages = references.packages(output, manifest.namespace, manifest.name)
        run_order = local.build_order(order, place, packages)
        finished = _is_finished(run_order.output)
        log = logs / f"{manifest.namespace}-{manifest.name}-{run_order.run.revision}.log"
        started = datetime.now(UTC)
        result_file = folder / "result.json"
        code, interrupts = _supervise(run_order, folder, result_file, log, reports, display)
        last = _last_known(run_order, reports)
        result = _read_result(result_file, last, code, interrupts, log)
    state = localstate.ended(run_order, started, datetime.now(UTC), result)
    extras = _extras(run_order.output, result, log)
    return state, replace(extras, finished_before=finished), code


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
    file.write_text(json.dumps(order.to_json(), ensure_ascii=False))
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
                doing = _STOPPING.get(order.run.kind, "stopping")
                display.say(f"{doing} … (Ctrl-C again: stop at once)")
            if code is not None:
                break
            if reports and reports[-1] is not shown:
                shown = reports[-1]
                now = datetime.now(UTC)
                display.show(localstate.running(order, started, shown, now))
            if time.monotonic() > deadline:
                trainer.kill()
    return code, trainer.interrupts


def _read_result(file: Path, last: _Result, code: int, interrupts: int, log: Path) -> _Result:
    """What the trainer left; its last report and exit code if it died without a word."""
    try:
        return type(last).model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        pass
    if interrupts:
        return last
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    hint = " (out of memory?)" if code == -9 else ""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    error = RunError(code="TrainerDied", message=f"the trainer {how}{hint}\n{tail}"[-1500:])
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
    report = str(page) if page.exists() else None
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
        files=files,
        report=report,
        loss_curve=str(curve) if curve.exists() else None,
        samples=parse_samples(samples.read_text("utf-8")) if samples.exists() else (),
        log=str(log),
    )


def _is_result(path: Path) -> bool:
    """Whether a file is for the user: not a checkpoint, nor the trainer's own notes."""
    return path.parts[0] not in ("checkpoints", "attempts", "claim.json")
