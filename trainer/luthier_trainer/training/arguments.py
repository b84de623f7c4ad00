"""The spec's words as TrainingArguments of transformers."""

from typing import Any

from transformers import TrainingArguments

from luthier_api.training import Training
from luthier_trainer import device
from luthier_trainer.training.rate import rate_of
from luthier_trainer.training.session import Session

_POLYNOMIAL_END = 1e-7  # where polynomial ends by default; it refuses a lower learning rate


def arguments(session: Session, evaluates: bool) -> TrainingArguments:
    """`evaluates`: whether the loss on eval is measured while training."""
    training, precision = session.training, session.precision.name
    on_gpu = device.on_gpu()
    optimizer = training.optimizer
    if optimizer == "adamw_torch":
        optimizer = "adamw_torch_fused"  # the same algorithm, in one kernel
    found = TrainingArguments(
        output_dir=str(session.scratch / "trainer"),
        use_cpu=not on_gpu,
        max_steps=training.max_steps or -1,
        num_train_epochs=training.epochs or 1.0,
        learning_rate=rate_of(training),
        lr_scheduler_type=training.scheduler,
        warmup_steps=training.warmup_ratio,  # below 1: a share of all steps
        optim=optimizer,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        per_device_train_batch_size=session.resolved.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_num_workers=session.resolved.workers,
        seed=training.seed,
        logging_steps=training.log_every_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=training.eval_every_steps if evaluates else None,
        save_strategy="steps",
        save_steps=training.save_every_steps,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
    )
    # Of several visible cards it would take all, and put copies of the model on them
    # (nn.DataParallel): a run has one.
    found._n_gpu = min(found.n_gpu, 1)
    return found


def scheduler_options(training: Training, steps: int) -> dict[str, Any]:
    """Keyword arguments of the schedule of a training of `steps` optimiser steps."""
    options = training.scheduler_options
    found: dict[str, Any] = {}
    if options and options.min_learning_rate is not None:
        found["min_lr"] = options.min_learning_rate
    if options and options.cycles is not None:
        found["num_cycles"] = options.cycles
    if options and options.power is not None:
        found["power"] = options.power
    if options and options.decay_ratio is not None:
        found["num_decay_steps"] = max(1, round(options.decay_ratio * steps))
    if training.scheduler == "polynomial" and rate_of(training) <= _POLYNOMIAL_END:
        found["lr_end"] = 0.0
    if training.scheduler == "greedy":
        found["min_lr"] = 0.0  # by default 0.001, to which it would raise a lower rate
    return found
