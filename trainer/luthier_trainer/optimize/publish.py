"""The end of an optimisation: the chosen package is published, or the report alone."""

from collections.abc import Sequence
from pathlib import Path

from luthier_api.optimizejob import Candidate
from luthier_api.result import ExitCode, OptimizeResult
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.optimize.devices import machine
from luthier_trainer.optimize.load import Loaded
from luthier_trainer.optimize.run import Optimization, artifact_of
from luthier_trainer.pod import publish
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.storage.objectstore import ObjectStore


def publish_package(
    run: Optimization,
    attempts: Attempts,
    output: ObjectStore,
    loaded: Loaded,
    precision: str,
    folder: Path,
    *,
    custom_code: bool,
) -> OptimizeResult:
    """`folder`: the package in model/, and its report. `custom_code`: whether code of the user's
    took part in making the source. Raises Superseded."""
    attempts.end("Succeeded", None, run.pod.usage())
    result = run.result("Succeeded")
    details = {
        "source": run.order.source.to_json(),
        "adapterUri": run.order.adapter_uri,
        "sourceDigest": loaded.source.digest,
        "customCode": custom_code,
        "package": {
            "precision": precision,
            "format": loaded.builder.format,
            "device": run.order.optimizing.target.device,
            "options": loaded.builder.options(precision),
        },
        "machine": machine(),
    }
    reference = publish.publish(output, folder, run.order, details, result, attempts.fence)
    log(f"published {reference.uri}: {precision}")
    return result.model_copy(update={"artifact": artifact_of(details, reference)})


def publish_report(output: ObjectStore, folder: Path) -> None:
    """What was measured, without a manifest: there is no artifact."""
    for path in sorted((folder / "report").rglob("*")):
        output.upload(path.relative_to(folder).as_posix(), path)


def none_passed(candidates: Sequence[Candidate]) -> TrainerError:
    """Why there is nothing to publish."""
    reasons = "; ".join(f"{it.precision}: {it.verdict}, {it.reason}" for it in candidates)
    if all(it.verdict == "Failed" for it in candidates):
        return TrainerError(
            ExitCode.UNSUPPORTED, "BuildFailed", f"no candidate works: {reasons}", "precisions"
        )
    return TrainerError(
        ExitCode.NOT_GOOD_ENOUGH,
        "GatesNotMet",
        f"no candidate keeps all gates: {reasons}. Loosen the gates, name other precisions, or "
        "measure on more rows; the report is in report/",
        "gates",
    )
