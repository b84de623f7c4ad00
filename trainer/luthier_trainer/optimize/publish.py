"""The end of an optimisation: the chosen package is published, or the report alone."""

from collections.abc import Sequence

from luthier_api.optimizejob import Candidate
from luthier_api.result import ExitCode, OptimizeResult
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.machine.description import machine
from luthier_trainer.optimize.artifact import artifact_of
from luthier_trainer.optimize.ask import asked
from luthier_trainer.optimize.cachekeys import package_key, source_key
from luthier_trainer.optimize.job import Job
from luthier_trainer.optimize.load import Loaded
from luthier_trainer.optimize.measured import Measured
from luthier_trainer.optimize.report import write_report
from luthier_trainer.pages.summary import Summary, Tried
from luthier_trainer.pod.publish import publish as publish_artifact


def publish(
    job: Job, loaded: Loaded, source: Measured, tried: Sequence[Tried], chosen: int
) -> OptimizeResult:
    """The package in model/, and its report. Raises Superseded."""
    job.reporter.stage("Publishing")
    tried = [each.as_chosen() if i == chosen else each for i, each in enumerate(tried)]
    state, precision = job.state, tried[chosen].candidate.precision
    state.candidates[chosen] = tried[chosen].candidate
    state.tell()
    device = job.wanted.target.device
    keys = {
        each: package_key(loaded.source, loaded.builder, each, device) for each in loaded.precisions
    }
    if not job.cache.fetch(keys[precision], job.artifact / "model"):
        raise OSError(f"the package of {precision} isn't as it was put into storage")
    write_report(job.artifact, _summary(job, loaded, source, tried, precision))
    job.attempts.end("Succeeded", None, state.pod.usage())
    result = state.result("Succeeded")
    details = manifest_details(job, loaded, precision)
    reference = publish_artifact(
        job.output, job.artifact, job.order, details, result, job.attempts.fence
    )
    log(f"published {reference.uri}: {precision}")
    job.cache.keep_only({source_key(loaded.source), *keys.values()})
    job.reporter.stage("Done")
    job.reporter.close()
    return result.model_copy(update={"artifact": artifact_of(details, reference)})


def manifest_details(job: Job, loaded: Loaded, precision: str) -> dict[str, object]:
    """What the manifest says beside what every run tells there."""
    return {
        "source": job.order.source.to_json(),
        "adapterUri": job.order.adapter_uri,
        "sourceDigest": loaded.source.digest,
        "customCode": job.fetched.custom_code,
        "package": {
            "precision": precision,
            "format": loaded.builder.format,
            "device": job.wanted.target.device,
            "options": loaded.builder.options(precision),
        },
        "machine": machine(),
    }


def refuse(job: Job, loaded: Loaded, source: Measured, tried: Sequence[Tried]) -> TrainerError:
    """Why nothing is published. What was measured is in storage all the same, without a manifest:
    there is no artifact. Raises Superseded."""
    write_report(job.artifact, _summary(job, loaded, source, tried, None))
    job.attempts.fence()
    for path in sorted((job.artifact / "report").rglob("*")):
        job.output.upload(path.relative_to(job.artifact).as_posix(), path)
    return none_passed(job.state.candidates)


def none_passed(candidates: Sequence[Candidate]) -> TrainerError:
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


def _summary(
    job: Job, loaded: Loaded, source: Measured, tried: Sequence[Tried], chosen: str | None
) -> Summary:
    assert job.state.baseline
    builder, rows = loaded.builder, loaded.rows
    return Summary(
        order=job.order,
        baseline=job.state.baseline,
        timings=source.timings,
        seconds=source.seconds,
        tried=tried,
        chosen=chosen,
        format=builder.format,
        options={name: builder.options(name) for name in loaded.precisions},
        machine=machine(),
        rows=len(rows.examples) if rows else 0,
        split=rows.split if rows else "",
        licence=job.fetched.licence,
        custom_code=job.fetched.custom_code,
        ask=asked(job.fetched, rows, source),
        begin=loaded.begin,
    )
