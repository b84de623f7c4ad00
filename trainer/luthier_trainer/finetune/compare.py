"""What was measured beside what the user's own evaluation says, and beside what is in use."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation import script
from luthier_trainer.evaluation.compare import (
    Comparison,
    not_compared,
    with_incumbent,
    with_incumbents_script,
    with_script,
)
from luthier_trainer.evaluation.measure import Measurement
from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.finetune.incumbent import NotComparableError, measure_incumbent
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.measure import Measured, answers, tell
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.startanswers import in_context, of_reported
from luthier_trainer.log import log, log_traceback
from luthier_trainer.machine import device
from luthier_trainer.objectives.objective import Item, Objective


def evaluate_by_script(job: Job, prepared: Prepared, measured: Measured) -> Measured:
    """With the user's own evaluation of what will be published."""
    if measured.comparison is None or prepared.script is None:
        return measured
    comparison = with_script(measured.comparison, _by_script(job, prepared, job.artifact))
    tell(job, comparison)
    return replace(measured, comparison=comparison)


def compare_with_incumbent(
    job: Job, prepared: Prepared, plan: Plan, measured: Measured
) -> Measured:
    """What is in use on the same rows, with the same code. The tuned model is saved and gone, so
    that there is one model at a time. Whatever prevents it is told, and no more: the result
    stands."""
    ref, comparison = job.spec.incumbent, measured.comparison
    if ref is None or comparison is None:
        return measured
    job.reporter.update(stage="Comparing")
    gc.collect()
    if device.on_gpu():
        torch.cuda.empty_cache()
    warnings = measured.warnings
    revision = ref.revision or ""
    with TemporaryDirectory(prefix="incumbent-", dir=job.folder) as folder:
        try:
            compared = _compared(job, prepared, plan, measured, revision, Path(folder))
        except Exception as error:
            why = str(error)
            if not isinstance(error, NotComparableError | TrainerError):
                why = f"it can't be loaded ({type(error).__name__}); the log says more"
                log_traceback(error)
            compared = not_compared(comparison, why)
            warning = f"the result isn't compared with {ref.revision}, which is in use: {why}"
            log(f"warning: {warning}")
            warnings = (*warnings, warning)
    tell(job, compared)
    job.reporter.update(stage="Publishing")
    return replace(measured, comparison=compared, warnings=warnings)


def _compared(
    job: Job,
    prepared: Prepared,
    plan: Plan,
    measured: Measured,
    revision: str,
    folder: Path,
) -> Comparison:
    assert measured.comparison
    assert measured.base
    assert measured.tuned
    start = of_reported(plan.kept_start, measured.base.predictions)
    progress = RowProgress(job.reporter, "Comparing", len(measured.items), job.interrupt.check)

    def measure(model: Any, objective: Objective, items: Sequence[Item]) -> Measurement:
        items = in_context(objective, items, start)
        return answers(job, prepared, plan, model, objective, items, progress)

    found = measure_incumbent(job, prepared, plan, folder, measure)
    compared = with_incumbent(measured.comparison, measured.tuned, found, prepared.values, revision)
    if prepared.script:
        compared = with_incumbents_script(compared, _by_script(job, prepared, folder))
    for name, gain in compared.result.gain.items():
        before = compared.result.in_use[name]
        log(f"{name}: in use ({revision}) {before:.4f}, tuned {gain.by:+.4f}")
    return compared


def _by_script(job: Job, prepared: Prepared, folder: Path) -> dict[str, float]:
    code, source = job.tuning.evaluation.script, prepared.script
    assert code
    assert source
    function = script.load(source, code.entrypoint)
    return script.evaluate(function, source, folder, prepared.examples.reported)
