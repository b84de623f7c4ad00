"""A manifest as a run on this machine: the run spec, and its state as a resource. Pure."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from luthier_api import API_VERSION
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.progress import ProgressReport
from luthier_api.result import RunResult
from luthier_api.revision import revision_name, shape_hash
from luthier_api.runspec import (
    CONFIG_MAPS_PATH,
    ProgressTarget,
    RunIdentity,
    RunSpec,
    S3Access,
)
from luthier_cli.configmaps import ConfigMaps
from luthier_cli.state import Resource

# What report, result and status all name alike.
_COMMON = (
    "checkpoints",
    "datasetDigest",
    "dataset",
    "estimate",
    "resolved",
    "evaluation",
    "usage",
    "restarts",
)
# A run on this machine needs no fresh name: its state lies in the output folder.
_ATTEMPT = 1


@dataclass(frozen=True)
class Place:
    """Where on this machine a run works, and where it reports to."""

    output: str  # URI of the folder that holds NAMESPACE/NAME/REVISION/
    owner: str  # who runs it; another owner may not write over its results
    cache_dir: str
    scratch_dir: str
    storage: S3Access
    receiver: str  # base URL
    token_file: str
    config_maps_dir: str = CONFIG_MAPS_PATH
    hub_endpoint: str | None = None
    report_seconds: float = 1.0


def build_run_spec(
    spec: FineTuneJobSpec,
    declared_output: str,
    namespace: str,
    name: str,
    place: Place,
    config_maps: ConfigMaps | None = None,
) -> RunSpec:
    """What the operator would hand to the trainer, for this machine.

    The revision's hash covers the output that the manifest declares: the same
    manifest has the same hash here and in a cluster, and in every folder. Only ConfigMaps
    count here too: code that was changed runs, and isn't given its old result. The uid is
    a function of owner, output and name, so that a second start goes on with the first.
    """
    fine_tuning = FineTuning.model_validate(
        {field: getattr(spec, field) for field in FineTuning.model_fields}
    )
    digest = _with_config_maps(shape_hash(fine_tuning, declared_output), config_maps or {})
    revision = revision_name(1, digest)
    identity = "/".join((place.owner, place.output, namespace, name))
    return RunSpec(
        run=RunIdentity(
            namespace=namespace,
            name=name,
            uid=str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
            revision=revision,
            attempt=_ATTEMPT,
        ),
        fine_tuning=fine_tuning,
        shape_hash=digest,
        checkpoints=spec.checkpoints,
        output="/".join((place.output.rstrip("/"), namespace, name, revision)),
        storage=place.storage,
        progress=ProgressTarget(
            url=place.receiver,
            interval_seconds=place.report_seconds,
            token_file=place.token_file,
        ),
        cache_dir=place.cache_dir,
        scratch_dir=place.scratch_dir,
        gpus=spec.placement.gpus,
        # The user's own machine, with the user's own rights.
        file_roots=["/"],
        hub_endpoint=place.hub_endpoint,
        config_maps_dir=place.config_maps_dir,
    )


def _with_config_maps(digest: str, config_maps: ConfigMaps) -> str:
    if not config_maps:
        return digest
    content = [
        [name, key, hashlib.sha256(value).hexdigest()]
        for name, keys in sorted(config_maps.items())
        for key, value in sorted(keys.items())
    ]
    return hashlib.sha256(json.dumps([digest, content]).encode()).hexdigest()


def running(
    run: RunIdentity, started: datetime, report: ProgressReport | None, now: datetime
) -> Resource:
    """The run as a resource while it goes on."""
    status: dict[str, Any] = {"phase": "Running" if report else "Starting"}
    if report:
        progress = report.progress.to_json()
        if report.eta_seconds is not None and "estimatedFinish" not in progress:
            finish = now + timedelta(seconds=report.eta_seconds)
            progress["estimatedFinish"] = finish.isoformat(timespec="seconds")
        status["progress"] = progress
        status |= _common(report)
        status["conditions"] = list(_conditions(report))
    return _resource(run, started, status)


def ended(run: RunIdentity, started: datetime, finished: datetime, result: RunResult) -> Resource:
    """The run as a resource once it has ended, in whatever way."""
    conditions = []
    if result.dataset_valid is not None:
        conditions.append(_dataset_condition(result.dataset_valid, result))
    if result.outcome == "Succeeded":
        conditions.append(_condition("Complete", "True", "Succeeded", "the result is published"))
    elif result.error:
        message = result.error.message
        if result.error.param:
            message = f"{message} [spec.{result.error.param.removeprefix('spec.')}]"
        conditions.append(_condition("Failed", "True", result.error.code, message))
    conditions += _warnings(result)
    phase = {"Succeeded": "Complete"}.get(result.outcome, result.outcome)
    status = {
        "phase": phase,
        "completionTime": finished.isoformat(timespec="seconds"),
        "conditions": conditions,
        **_common(result),
    }
    if result.progress:
        status["progress"] = result.progress.to_json()
    if result.artifact:
        status["artifact"] = result.artifact.to_json()
    return _resource(run, started, status)


def _common(source: ProgressReport | RunResult) -> dict[str, Any]:
    document = source.to_json()
    return {name: document[name] for name in _COMMON if document.get(name)}


def _warnings(source: ProgressReport | RunResult) -> Iterator[dict[str, Any]]:
    """The conditions that the operator makes of the same."""
    if source.overfitting:
        yield _condition("Overfitting", "True", "LearnsByHeart", source.overfitting)
    if source.inexact_resume:
        yield _condition("ResumeExact", "False", "NotReproducible", source.inexact_resume)


def _conditions(report: ProgressReport) -> Iterator[dict[str, Any]]:
    if report.dataset_valid is not None:
        yield _dataset_condition(report.dataset_valid, report)
    if report.resumed_from_step is not None:
        message = f"from the checkpoint of step {report.resumed_from_step:,}"
        yield _condition("Resumed", "True", "CheckpointFound", message)
    yield from _warnings(report)


def _dataset_condition(valid: bool, source: ProgressReport | RunResult) -> dict[str, Any]:
    reason = "Checked" if valid else "Invalid"
    return _condition(
        "DatasetValid", "True" if valid else "False", reason, source.dataset_summary or ""
    )


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _resource(run: RunIdentity, started: datetime, status: dict[str, Any]) -> Resource:
    return {
        "apiVersion": API_VERSION,
        "kind": run.kind,
        "metadata": {"namespace": run.namespace, "name": run.name, "uid": run.uid},
        "status": {
            "revision": run.revision,
            "attempt": run.attempt,
            "startTime": started.astimezone(UTC).isoformat(timespec="seconds"),
            **status,
        },
    }
