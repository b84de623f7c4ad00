"""Base and tuned model on the same rows, with the same code."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from luthier_trainer.distributed.world import World
from luthier_trainer.errors import measuring
from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.evaluation.compare import Comparison, compare, with_reading
from luthier_trainer.evaluation.measure import Measurement, OnRows
from luthier_trainer.evaluation.measure import measure as measured_on
from luthier_trainer.evaluation.readout import fitted
from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.evaluation.samples import answered
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.startanswers import as_start, in_context
from luthier_trainer.finetune.train import check_of
from luthier_trainer.log import log
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.objectives.reading import read_by

# Rows of the sheet for people, and of samples.json.
_SAMPLES = 20


@dataclass(frozen=True)
class Measured:
    """`comparison`, `base` and `tuned` are None where there are no rows to measure on. `items`: the
    measured rows, encoded once for all models; `answers`: of both models to the first of them.
    `objective`: as it reads the tuned model's answers."""

    comparison: Comparison | None = None
    base: Measurement | None = None
    tuned: Measurement | None = None
    items: Sequence[Item] = ()
    answers: Sequence[Answered] = ()
    warnings: tuple[str, ...] = ()
    objective: Objective | None = None


def measure_together(job: Job, prepared: Prepared, plan: Plan, tuned: Tuned) -> Measured:
    """What all processes do together at the end: each answers rows of its own, and the first one
    knows what all found, and has all that is to be saved. Raises TrainerError, Interrupted or
    Superseded."""
    tuned.settle()
    # A process that left its part would leave the others waiting.
    with job.interrupt.deferred() if plan.shared else nullcontext():
        measured = _measure(job, prepared, plan, tuned)
        tuned.collect(job.folder / "collected")
    job.world.leave()
    return measured


def _measure(job: Job, prepared: Prepared, plan: Plan, tuned: Tuned) -> Measured:
    split = prepared.examples.report_split
    if split is None:
        log("warning: neither eval nor test rows: the result is not measured")
        return Measured()
    job.reporter.stage("Evaluating")
    started = time.monotonic()
    rows = prepared.examples.reported
    encoded = prepared.encoded(job, "reported", rows)
    items = in_context(plan.objective, encoded, plan.kept_start.get("reported"))
    objective, reading = _read(job, prepared, plan, tuned)
    own = 2 * math.ceil(len(items) / job.world.size)
    progress = RowProgress(job.reporter, "Evaluating", own, check_of(job, plan))
    found = partial(answers, job, prepared, plan, items=items, on_rows=progress)
    after = found(tuned.model, objective=objective, world=job.world)
    with as_start(plan.objective, tuned) as model:
        before = found(model, objective=plan.objective, world=job.world)
    if not job.world.is_first:
        return Measured()
    comparison = compare(before, after, prepared.values, split)
    if reading:
        comparison = with_reading(comparison, "eval", reading)
    tell(job, comparison)
    for name, value in comparison.result.tuned.items():
        log(f"{name}: base {before.values([name])[name]:.4f}, tuned {value:.4f}")
    log(f"evaluated {len(rows)} {split} rows twice in {time.monotonic() - started:.1f} s")
    said = answered(plan.objective, rows, before, after, _SAMPLES)
    return Measured(comparison, before, after, items, said, objective=objective)


def _read(
    job: Job, prepared: Prepared, plan: Plan, tuned: Tuned
) -> tuple[Objective, dict[str, Any]]:
    """The objective with the tuned model's logits read as suits the rows of eval, and what that
    changed there: nothing where there are too few, or no classes of a head."""
    items, batch_size = prepared.eval_items, job.tuning.evaluation.batch_size
    if not items:
        return plan.objective, {}
    progress = RowProgress(job.reporter, "Calibrating", len(items), check_of(job, plan))
    with measuring(batch_size):
        found = fitted(
            tuned.model,
            plan.objective,
            items,
            batch_size=batch_size,
            autocast=plan.autocast,
            on_rows=progress,
        )
    if found is None:
        return plan.objective, {}
    log(f"read by temperature {found.reading.temperature:.4g}: {found.told}")
    return read_by(plan.objective, found.reading), found.document


def answers(
    job: Job,
    prepared: Prepared,
    plan: Plan,
    model: Any,
    objective: Objective,
    items: Sequence[Item],
    on_rows: OnRows,
    world: World | None = None,
) -> Measurement:
    """What a model makes of the measured rows, which `objective` encoded as `items`. `world`: the
    processes that share them."""
    batch_size = job.tuning.evaluation.batch_size
    with measuring(batch_size):
        return measured_on(
            model,
            objective,
            items,
            prepared.examples.reported,
            prepared.values,
            batch_size=batch_size,
            autocast=plan.autocast,
            samples=_SAMPLES,
            on_rows=on_rows,
            world=world,
        )


def tell(job: Job, comparison: Comparison) -> None:
    """The next report has it, and the end of this run."""
    job.state.evaluation = comparison.result
    job.reporter.set(evaluation=comparison.result)
    job.state.telling.measured(comparison.result)
