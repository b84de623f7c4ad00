"""The training, from its checkpoint on; the steps themselves are in training/loop.py."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from luthier_trainer.distributed.shards import parts_of
from luthier_trainer.errors import Interrupted, Superseded, measuring
from luthier_trainer.evaluation.measure import eval_metrics
from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.finetune.inspection import rows_of
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan, resumed_step
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.report import curves
from luthier_trainer.log import log
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.objectives.objective import Item
from luthier_trainer.objectives.packing import pack
from luthier_trainer.training import loop
from luthier_trainer.training.checkpoint import Found, Snapshot
from luthier_trainer.training.checkpointwriter import CheckpointWriter
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.loop import Outcome
from luthier_trainer.training.session import Packing, Session


def train(job: Job, prepared: Prepared, plan: Plan, tuned: Tuned, found: Found | None) -> Outcome:
    """Raises TrainerError, Interrupted or Superseded."""
    rows, resumed = rows_of(prepared.items), resumed_step(found)
    job.attempts.resume_from(resumed)
    if found:
        log(f"going on from the checkpoint of step {resumed}")
        job.reporter.set(resumed_from_step=resumed)
    job.state.writer = CheckpointWriter(
        job.output,
        job.spec.checkpoints.keep_last,
        job.attempts.fence,
        partial(_on_checkpoint, job),
        job.folder,
        found[1] if found else None,
        job.interrupt.seconds_left(),
        job.world if parts_of(tuned.model) else None,
    )
    session = Session(
        training=plan.training,
        precision=plan.precision,
        resolved=plan.resolved,
        scratch=job.folder,
        interrupt=job.interrupt,
        reporter=job.reporter,
        writer=job.state.writer,
        on_tokens=partial(_on_tokens, job),
        measure=partial(_measure, job, prepared, plan),
        watched=prepared.metric,
        lower_is_better=prepared.lower_is_better,
        place=lambda index: prepared.examples.train[int(rows[index])].place,
        packing=Packing(pack, plan.objective.collate) if plan.resolved.packed else None,
        goes_on=job.trial.goes_on if job.trial else None,
        world=job.world,
        on_journal=job.state.telling.follow,
    )
    job.reporter.stage("Training")
    outcome = loop.train(
        tuned.model,
        plan.objective,
        plan.items,
        plan.eval_items,
        session,
        found[0] if found else None,
    )
    job.state.telling.follow(outcome.journal)
    rate = outcome.trained_tokens / max(outcome.seconds, 1e-9)
    log(f"trained to step {outcome.step} in {outcome.seconds:.1f} s, {rate:.0f} tokens/s")
    if outcome.stopped or job.interrupt.requested:
        raise Superseded if job.interrupt.superseded else Interrupted
    estimate = plan.resolved.estimate.model_copy(
        update={
            "measured_memory_bytes": outcome.peak_memory_bytes,
            "measured_duration_seconds": outcome.learning_seconds,
        }
    )
    job.reporter.set(estimate=estimate)
    return outcome


def _measure(
    job: Job, prepared: Prepared, plan: Plan, model: Any, items: Sequence[Item]
) -> Mapping[str, float]:
    """Rows of eval, while it trains."""
    batch_size = job.tuning.evaluation.batch_size
    with measuring(batch_size):
        found = eval_metrics(
            model,
            plan.objective,
            items,
            prepared.examples.watched,
            prepared.on_eval,
            batch_size=batch_size,
            autocast=plan.autocast,
            on_rows=RowProgress(
                job.reporter,
                "Evaluating",
                math.ceil(len(items) / job.world.size),
                check_of(job, plan),
            ),
            world=job.world,
        )
    job.reporter.update(stage="Training")
    return found


def check_of(job: Job, plan: Plan) -> Callable[[], None]:
    """What raises where a stop was asked for; of a shared-out model all processes stop at one point
    (lockstep.py)."""
    return _nothing if plan.shared else job.interrupt.check


def _nothing() -> None: ...


def _on_tokens(job: Job, count: int) -> None:
    job.state.pod.trained_tokens = count


def _on_checkpoint(job: Job, snapshot: Snapshot) -> None:
    """In the writer's thread: what else is to be seen in storage after a checkpoint."""
    writer = job.state.writer
    assert writer
    journal = Journal(snapshot.document["journal"])
    for name, content in curves(journal).items():
        job.output.write(f"report/{name}", content)
    job.attempts.advance(snapshot.step, job.state.pod.usage())
    job.reporter.set(checkpoints=writer.refs, checkpoint_cost=writer.cost, usage=job.attempts.usage)
