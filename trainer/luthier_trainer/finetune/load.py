"""Base model and method, and what `auto` comes to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luthier_api.training import Training
from luthier_trainer.errors import PeersLost
from luthier_trainer.evaluation.memory import evaluation_bytes
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.prepare import Prepared
from luthier_trainer.finetune.startanswers import Kept, begin, in_context
from luthier_trainer.finetune.startfrom import fetch_start
from luthier_trainer.log import log
from luthier_trainer.machine import device, memory
from luthier_trainer.machine.runtime import resident_bytes
from luthier_trainer.methods.apply import trained_type, tune
from luthier_trainer.methods.merge import merging_bytes
from luthier_trainer.methods.tuned import Tuned
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.heads import keeps_head
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision, resolve_precision
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.choose import batching
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import lengths, were_estimated
from luthier_trainer.objectives.objective import Item, ShownObjective
from luthier_trainer.objectives.outputlayer import remember_plain_head
from luthier_trainer.objectives.tokens import pad_token
from luthier_trainer.training import checkpoint
from luthier_trainer.training.checkpoint import Found
from luthier_trainer.training.parallel import choose_parallel
from luthier_trainer.training.rate import notes as rate_notes
from luthier_trainer.training.rate import with_rate
from luthier_trainer.training.resolve import Resolved, resolve


@dataclass(frozen=True)
class Plan:
    """How the model is trained. `objective`: as its batches are made, of `items`; `eval_items`: of
    eval. `kept_start`: what the model that the training begins with says of rows, where that is
    kept. `training`: with the rate that `auto` came to; `notes`: all that `auto` came to, in words.
    `artifact`: the folder of the result, adapter or model. `shared`: whether the model is shared
    out among the processes."""

    training: Training
    objective: ShownObjective
    items: Sequence[Item]
    eval_items: Sequence[Item]
    kept_start: Kept
    source: BaseSource
    precision: Precision
    resolved: Resolved
    notes: dict[str, str]
    memory_limit: int
    artifact: str
    shared: bool

    @property
    def autocast(self) -> torch.dtype | None:
        return self.precision.autocast


def load(job: Job, prepared: Prepared) -> tuple[Plan, Tuned, Found | None]:
    """The plan, the model with the method on it, and the checkpoint to go on from.

    Raises TrainerError, and PeersLost where other processes go on from another checkpoint.
    """
    tuning, objective, model_folder = job.tuning, prepared.objective, job.model_folder
    kind, preference = describe(model_folder).kind, tuning.task == "preference"
    training = with_rate(tuning.training, tuning.method.type, kind, preference=preference)
    weights = trained_type(tuning.method)
    # What is in bf16 is computed with in bf16.
    arithmetic = training.precision if weights == torch.float32 else "bf16"
    precision = resolve_precision(arithmetic, job.spec.gpus)
    source = BaseSource(
        folder=model_folder,
        head=objective.head,
        longest=max(max(lengths(prepared.items)), max(lengths(prepared.eval_items), default=0)),
        seed=training.seed,
        dropout=training.dropout,
        pad_id=pad_token(prepared.tokenizer),
    )
    parallel = choose_parallel(tuning, model_folder, precision, job.world, job.spec.memory_bytes)
    among = job.world if parallel.shared else None
    if among and not among.is_first:
        source = replace(source, outline=True)
    found = checkpoint.read_latest(job.output, job.folder, among)
    # A checkpoint has all that is trained: what the run began with may be gone since.
    start = None if found else _start(job, source)
    tuned = tune(tuning, source, precision, start, among)
    if objective.head.auto_class.endswith("LM"):
        remember_plain_head(tuned.model, precision.autocast)
    if prepared.own_loss:
        prepared.own_loss.to(tuned.model.device)
    memory_limit = memory.limit_bytes(job.spec.memory_bytes)
    kept_start = begin(job, prepared, tuned, precision, resumes=found is not None)
    items = in_context(objective, prepared.items, kept_start.get("train"))
    eval_items = in_context(objective, prepared.eval_items, kept_start.get("watched"))
    kept = _kept(job, prepared, found, shared=parallel.shared)
    batches = batching(
        tuning,
        objective,
        tuned.model,
        on_gpu=device.on_gpu(),
        autocast=precision.autocast,
        kept=kept.get("packing"),
    )
    if batches != "padded":
        assert isinstance(objective, Causal)
        objective = objective.without_padding()
    resolved = resolve(
        tuned.model,
        objective,
        items,
        training,
        precision,
        memory_limit,
        batching=batches,
        may_checkpoint=tuning.method.type != "prefix",
        kept=kept,
        evaluation=evaluation_bytes(
            tuned.model,
            objective,
            eval_items,
            tuning.evaluation.batch_size,
            tuning.evaluation.max_new_tokens,
            precision.dtype,
        ),
        machine=memory.machine_bytes(job.spec.memory_bytes),
        processes=job.world.size,
        agreed=among.share if among else None,
    )
    if job.world.is_first and not among:
        job.world.share({"step": resumed_step(found), "kept": resolved.kept})
    if tuning.method.merge:
        resolved = _with_merge(job, resolved)
    notes = {
        "precision": precision.name,
        "threads": str(torch.get_num_threads()),
        **rate_notes(tuning.training, training),
        **resolved.notes,
        **parallel.notes,
        **tuned.resolved,
        **getattr(objective, "notes", {}),
        **_head_notes(objective, tuned),
    }
    if objective.max_length < training.max_length:
        notes["maxLength"] = str(objective.max_length)
        log(f"maxLength is {objective.max_length:,}: the model reads no more")
    job.reporter.set(estimate=resolved.estimate, resolved=notes)
    job.state.telling.resolved(notes)
    plan = Plan(
        training=training,
        objective=objective,
        items=items,
        eval_items=eval_items,
        kept_start=kept_start,
        source=source,
        precision=precision,
        resolved=resolved,
        notes=notes,
        memory_limit=memory_limit,
        artifact=tuned.artifact,
        shared=parallel.shared,
    )
    return plan, tuned, found


def _head_notes(objective: ShownObjective, tuned: Tuned) -> dict[str, str]:
    """Whose weights a head for labels begins with."""
    if not objective.head.labels:
        return {}
    told = (
        "the base's own: its labels are the same" if keeps_head(unwrapped(tuned.model)) else "new"
    )
    log(f"head for {len(objective.head.labels)} labels: {told}")
    return {"head": told}


def resumed_step(found: Found | None) -> int:
    return found[0].step if found else 0


def _start(job: Job, source: BaseSource) -> Path | None:
    """The weights that the training begins with, where it goes on from earlier ones."""
    start = job.state.pod.started_from
    if start is None:
        return None
    folder = job.folder / "start"
    return fetch_start(start, job.spec, source.head, job.base_digest, folder)


def _kept(job: Job, prepared: Prepared, found: Found | None, *, shared: bool) -> dict[str, Any]:
    """What was resolved when the training began, or by the first of several processes: it has
    measured what fits. Of a shared-out model all of them measure, and have read one checkpoint."""
    kept: dict[str, Any] = found[0].document["resolved"] if found else {}
    if found and "lengths" not in kept and were_estimated(prepared.examples.train):
        # Its batches were others: who goes on says so.
        found[0].document["environment"]["lengths"] = "estimated"
    return kept if shared or job.world.is_first else _follow(job, found)


def _follow(job: Job, found: Found | None) -> dict[str, Any]:
    """What the first process resolved. Raises PeersLost where it goes on from another checkpoint:
    it may be the only one that could read the newest."""
    first, here = job.world.share(), resumed_step(found)
    if first["step"] != here:
        log(f"the first process goes on from step {first['step']}, not {here}")
        raise PeersLost
    kept: dict[str, Any] = first["kept"]
    return kept


def _with_merge(job: Job, resolved: Resolved) -> Resolved:
    """With what merging will need of the machine's memory at the end."""
    needed = resident_bytes() + merging_bytes(job.model_folder)
    room = memory.machine_bytes(job.spec.memory_bytes)
    text = f"merging at the end needs about {needed / 1e9:.1f} GB of the machine's memory"
    if needed > room:
        log(
            f"warning: {text}, and there are {room / 1e9:.1f} GB: use a pool with more memory, "
            "or set method.merge to false and merge the adapter elsewhere"
        )
    else:
        log(text)
    if device.on_gpu():
        return resolved
    most = max(needed, resolved.estimate.memory_bytes or 0)
    return replace(resolved, estimate=resolved.estimate.model_copy(update={"memory_bytes": most}))
