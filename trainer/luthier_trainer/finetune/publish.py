"""The reports written, and the artifact published."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from luthier_api.result import RunResult
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.measure import Measured
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.report import write_report
from luthier_trainer.finetune.save import Saved
from luthier_trainer.log import log
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.sheet import sheet
from luthier_trainer.pod.claim import Start
from luthier_trainer.pod.publish import publish as publish_artifact
from luthier_trainer.pod.usercode import has_code
from luthier_trainer.training.loop import Outcome


def publish(
    job: Job,
    prepared: Prepared,
    plan: Plan,
    outcome: Outcome,
    measured: Measured,
    saved: Saved,
    details: Mapping[str, Any],
) -> RunResult:
    """`details`: of the manifest, beside what every run tells there.

    Raises TrainerError, Interrupted or Superseded.
    """
    facts = _facts(job, prepared, plan, outcome, measured, saved)
    _write_report(job, outcome, measured, facts)
    state, writer = job.state, job.state.writer
    assert writer
    writer.drain(job.spec.storage.retry_seconds + 60)
    job.attempts.end("Succeeded", None, state.pod.usage())
    started = state.pod.started_from
    manifest = {
        "baseModel": {
            "uri": job.tuning.model.uri,
            "digest": job.base_digest,
            "revision": job.base.commit,
            "licence": job.base.licence,
        },
        "startedFrom": started.to_json() if started else None,
        "labels": list(plan.objective.head.labels) or None,
        "datasetDigest": prepared.examples.digest,
        "dataset": prepared.facts.to_json(),
        "datasetWarnings": prepared.examples.warnings,
        "checkpointCost": writer.cost.to_json(),
        "estimate": facts.estimate.to_json(),
        "resolved": plan.notes,
        "merged": saved.merged or None,
        "customCode": has_code(job.spec),
        **details,
    }
    result = state.result("Succeeded")
    ref = publish_artifact(job.target, job.artifact, job.spec, manifest, result, job.attempts.fence)
    log(f"published {ref.uri}")
    job.reporter.stage("Done")
    job.reporter.close()
    return result.model_copy(update={"artifact": ref, "progress": job.reporter.progress})


def _facts(
    job: Job,
    prepared: Prepared,
    plan: Plan,
    outcome: Outcome,
    measured: Measured,
    saved: Saved,
) -> Facts:
    report, head, writer = job.reporter.report, plan.objective.head, job.state.writer
    warnings = [
        *prepared.examples.warnings,
        *measured.warnings,
        report.overfitting,
        saved.merged.get("warning"),
        writer.warning if writer else None,
    ]
    return Facts(
        base_digest=job.base_digest,
        commit=job.base.commit,
        licence=job.base.licence,
        dataset_digest=prepared.examples.digest,
        summary=job.state.data_summary() or "",
        steps=outcome.step,
        artifact=plan.artifact,
        auto_class=head.auto_class,
        labels=head.labels,
        best_step=outcome.best_step,
        started_from=_in_words(job.state.pod.started_from),
        merged=job.tuning.method.merge,
        merged_metrics=saved.merged.get("metrics", {}),
        resolved=plan.notes,
        warnings=tuple(warning for warning in warnings if warning),
        ask=saved.ask,
        estimate=report.estimate or plan.resolved.estimate,
    )


def _write_report(job: Job, outcome: Outcome, measured: Measured, facts: Facts) -> None:
    """What people read: card, pages, curves, samples."""
    report = job.artifact / "report"
    report.mkdir(parents=True, exist_ok=True)
    if measured.answers:
        title = f"{job.spec.run.namespace}/{job.spec.run.name}"
        page = sheet(title, measured.answers, job.tuning.training.seed)
        (report / "sheet.html").write_text(page)
    samples = [asdict(answer) for answer in measured.answers]
    write_report(job.artifact, job.spec, outcome.journal, measured.comparison, samples, facts)


def _in_words(start: Start | None) -> str | None:
    if start is None:
        return None
    return f"{start.uri} ({start.revision})" if start.revision else start.uri
