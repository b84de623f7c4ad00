"""A manifest as a run on this machine: the run spec, and its state as a resource. Pure."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from luthier_api import API_VERSION
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.progress import ProgressReport
from luthier_api.result import RunResult
from luthier_api.revision import revision_name, shape_hash
from luthier_api.runspec import ProgressTarget, RunIdentity, RunSpec, S3Access
from luthier_cli.state import Resource

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
    report_seconds: float = 1.0


def build_run_spec(
    spec: FineTuneJobSpec, declared_output: str, namespace: str, name: str, place: Place
) -> RunSpec:
    """What the operator would hand to the trainer, for this machine.

    The revision's hash covers the output that the manifest declares: the same
    manifest has the same hash here and in a cluster, and in every folder. The uid is
    a function of owner, output and name, so that a second start goes on with the first.
    """
    fine_tuning = FineTuning.model_validate(
        {field: getattr(spec, field) for field in FineTuning.model_fields}
    )
    digest = shape_hash(fine_tuning, declared_output)
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
    )


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
    names: Sequence[str] = ("checkpoints", "evaluation", "usage", "restarts", "datasetDigest")
    return {name: document[name] for name in names if document.get(name)}


def _conditions(report: ProgressReport) -> Iterator[dict[str, Any]]:
    if report.dataset_valid is not None:
        yield _dataset_condition(report.dataset_valid, report)
    if report.resumed_from_step is not None:
        message = f"from the checkpoint of step {report.resumed_from_step:,}"
        yield _condition("Resumed", "True", "CheckpointFound", message)


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
