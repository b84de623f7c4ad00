"""A fine-tuning from top to bottom: prepare, load, train, measure, publish.

Each stage is a function in a file of its name, and what it hands on is a frozen dataclass there:
Job (what is given), Prepared (rows as tokens), Plan (what `auto` comes to), Measured, Saved.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from luthier_api.result import RunResult
from luthier_trainer.finetune.compare import compare_with_incumbent, evaluate_by_script
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan, load
from luthier_trainer.finetune.measure import measure_together
from luthier_trainer.finetune.prepare import Prepared, prepare
from luthier_trainer.finetune.publish import publish
from luthier_trainer.finetune.save import save
from luthier_trainer.finetune.show import show
from luthier_trainer.finetune.train import train
from luthier_trainer.log import log
from luthier_trainer.machine import device
from luthier_trainer.machine.runtime import has_tcmalloc, threads
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.training.checkpoint import Found
from luthier_trainer.training.loop import Outcome


def fine_tune(job: Job, details: Mapping[str, Any] = MappingProxyType({})) -> RunResult:
    """Train, measure and publish. `details`: of the manifest, beside what every run tells there.

    Raises TrainerError, Interrupted or Superseded.
    """
    with job.world.alive():
        prepared, plan, tuned, checkpoint = _ready(job)
        show(job, prepared, plan)
        outcome = train(job, prepared, plan, tuned, checkpoint)
        del checkpoint  # as large as all that is trained
        measured = measure_together(job, prepared, plan, tuned)
    job.interrupt.check()  # an exception of a signal's handler can get lost in a library
    job.reporter.stage("Publishing")
    saved = save(job, prepared, plan, tuned, measured)
    del tuned  # what is in use is loaded next: one model at a time
    measured = evaluate_by_script(job, prepared, measured)
    job.interrupt.check()
    measured = compare_with_incumbent(job, prepared, plan, measured)
    job.interrupt.check()
    return publish(job, prepared, plan, outcome, measured, saved, details)


def train_only(job: Job) -> Outcome:
    """The training alone, whose checkpoints stay. Raises as `fine_tune`."""
    prepared, plan, tuned, checkpoint = _ready(job)
    return train(job, prepared, plan, tuned, checkpoint)


def accompany(job: Job) -> None:
    """The part of a process that isn't the first: all but what is told and published. Raises as
    `fine_tune`."""
    with job.world.alive():
        prepared, plan, tuned, checkpoint = _ready(job)
        train(job, prepared, plan, tuned, checkpoint)
        del checkpoint
        measure_together(job, prepared, plan, tuned)


def _ready(job: Job) -> tuple[Prepared, Plan, Tuned, Found | None]:
    """Everything but the first step."""
    started = time.monotonic()
    device.decide(job.spec.gpus)
    torch.set_num_threads(threads())
    job.world.told_to_stop = lambda: job.interrupt.requested
    prepared = prepare(job)
    plan, tuned, checkpoint = load(job, prepared)
    allocator = "tcmalloc" if has_tcmalloc() else "the C library's malloc"
    log(
        f"loaded in {time.monotonic() - started:.1f} s, {torch.get_num_threads()} threads, "
        f"{allocator}"
    )
    return prepared, plan, tuned, checkpoint
