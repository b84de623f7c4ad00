"""Weights and tokenizer in the folder of the artifact, and how the model is asked."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.load import Plan
from luthier_trainer.finetune.measure import Measured, answers
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.log import log
from luthier_trainer.machine import memory
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.models.save import write_ends
from luthier_trainer.objectives.ends import end_tokens
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import begins
from luthier_trainer.published import ask as asking
from luthier_trainer.published.ask import Ask


@dataclass(frozen=True)
class Saved:
    """`ask`: how the model is asked. `merged`: what a merge changed, JSON-ready."""

    ask: Ask
    merged: dict[str, Any] = field(default_factory=dict)


def save(job: Job, prepared: Prepared, plan: Plan, tuned: Tuned, measured: Measured) -> Saved:
    """Raises TrainerError, Interrupted or Superseded."""
    folders = [job.artifact / tuned.artifact]
    tuned.save(folders[0])
    merged: dict[str, Any] = {}
    if job.tuning.method.merge:
        folders.append(job.artifact / "model")
        merged = _merge(job, prepared, plan, tuned, measured, folders[-1])
    ask = _ask(job, prepared, plan, tuned, measured)
    for folder in folders:
        prepared.tokenizer.save_pretrained(folder)
        asking.write(folder, ask)
        if ask.stop:
            write_ends(folder, unwrapped(tuned.model), [stop.id for stop in ask.stop])
    return Saved(ask, merged)


def _merge(
    job: Job, prepared: Prepared, plan: Plan, tuned: Tuned, measured: Measured, folder: Path
) -> dict[str, Any]:
    """What it changed."""
    done = tuned.merge(folder, memory.machine_bytes(job.spec.memory_bytes))
    log(f"merged: logits differ by at most {done.difference:.1e}")
    found: dict[str, Any] = {"difference": done.difference}
    if done.warning:
        log(f"warning: merged: {done.warning}")
        found["warning"] = done.warning
    if measured.comparison and job.tuning.method.type == "qlora":
        found["metrics"] = _against_quantized(job, prepared, plan, tuned, measured, folder)
    return found


def _against_quantized(
    job: Job, prepared: Prepared, plan: Plan, tuned: Tuned, measured: Measured, folder: Path
) -> dict[str, dict[str, float]]:
    """The merged model's metrics, and how they differ from those on the 4-bit base."""
    assert measured.comparison
    model = replace(plan.source, folder=folder).load(plan.precision)
    model.to(tuned.model.device)
    items = measured.items
    progress = RowProgress(job.reporter, "Checking merge", len(items), job.interrupt.check)
    objective = measured.objective or plan.objective
    found = answers(job, prepared, plan, model, objective, items, progress)
    job.reporter.update(stage="Publishing")
    before = measured.comparison.result.tuned
    changes = {
        name: {"merged": value, "change": value - before[name]}
        for name, value in found.values(prepared.values).items()
        if name in before
    }
    for name, each in changes.items():
        log(f"merged: {name} {each['merged']:.4f} ({each['change']:+.4f} to the 4-bit base's)")
    return changes


def _ask(job: Job, prepared: Prepared, plan: Plan, tuned: Tuned, measured: Measured) -> Ask:
    """With the first short row of those that were measured."""
    model, count = unwrapped(tuned.model), len(measured.answers)
    generates = getattr(model, "generation_config", None) is not None
    return asking.describe(
        job.tuning,
        measured.objective or plan.objective,
        prepared.tokenizer,
        [prepared.examples.reported[index] for index in range(count)],
        [measured.items[index] for index in begins(measured.items)[:count]],
        measured.answers,
        prepared.examples.train[0],
        end_tokens(model, prepared.tokenizer) if generates else [],
    )
