"""Training with transformers.Trainer: our batches, our loss, our checkpoints."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from luthier_trainer import checkpoint
from luthier_trainer.checkpoint import Snapshot
from luthier_trainer.collate import collate, count_targets
from luthier_trainer.journal import Journal
from luthier_trainer.loss import causal_loss
from luthier_trainer.sampler import EpochBatches
from luthier_trainer.tokens import Tokens
from luthier_trainer.watch import Session, Watch


@dataclass(frozen=True)
class Outcome:
    """The end of a training, finished or interrupted."""

    step: int
    total_steps: int
    trained_tokens: int  # by this pod
    journal: Journal
    seconds: float


def train(
    model: Any,
    rows: Sequence[Tokens],
    eval_rows: Sequence[Tokens],
    session: Session,
    snapshot: Snapshot | None,
) -> Outcome:
    """Train to the end, or to the step in which a stop was asked for.

    `snapshot`: the state to go on from. Its result equals that of an undisturbed run,
    bit for bit on the same CPU. Raises TrainerError (LossNotFinite, or what storage says).
    """
    if snapshot and snapshot.step >= snapshot.document["trainer"]["max_steps"]:
        return _finished(model, snapshot)
    arguments = _arguments(session, bool(eval_rows))
    if session.training.gradient_checkpointing == "Always":
        model.enable_input_require_grads()
    trainer = _Trainer(model, arguments, rows, eval_rows, session, snapshot)
    folder = None
    if snapshot:
        folder = str(checkpoint.local_resume_folder(snapshot, session.scratch / "resume"))
    # Whatever drew random numbers before must not change the result.
    set_seed(session.training.seed)
    started = time.monotonic()
    with session.interrupt.deferred():
        trainer.train(resume_from_checkpoint=folder)
    return Outcome(
        step=trainer.state.global_step,
        total_steps=trainer.state.max_steps,
        trained_tokens=trainer.trained_tokens,
        journal=trainer.journal,
        seconds=time.monotonic() - started,
    )


def _finished(model: Any, snapshot: Snapshot) -> Outcome:
    """The end of a training whose last checkpoint this is."""
    checkpoint.restore_model(snapshot, model)
    return Outcome(
        step=snapshot.step,
        total_steps=snapshot.step,
        trained_tokens=0,
        journal=Journal(snapshot.document["journal"]),
        seconds=0.0,
    )


def _arguments(session: Session, has_eval: bool) -> TrainingArguments:
    training, precision = session.training, session.precision.name
    on_gpu = torch.cuda.is_available()
    evaluates = has_eval and training.eval_every_steps is not None
    optimizer = training.optimizer
    if optimizer == "adamw_torch":
        optimizer = "adamw_torch_fused"  # the same algorithm, in one kernel
    return TrainingArguments(
        output_dir=str(session.scratch / "trainer"),
        use_cpu=not on_gpu,
        max_steps=training.max_steps or -1,
        num_train_epochs=training.epochs or 1.0,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.scheduler,
        warmup_steps=training.warmup_ratio,  # below 1: a share of all steps
        optim=optimizer,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        per_device_train_batch_size=training.per_device_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        activation_checkpointing=training.gradient_checkpointing == "Always",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_num_workers=training.dataloader_workers or 0,
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


class _Loader(DataLoader[Tokens]):
    """Passes the epoch on to its batches."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


class _Trainer(Trainer):  # type: ignore[misc]
    """The loop of transformers with our parts. What is overridden is public or, where it
    begins with an underscore, a hook of transformers 5."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        rows: Sequence[Tokens],
        eval_rows: Sequence[Tokens],
        session: Session,
        snapshot: Snapshot | None,
    ) -> None:
        self.session = session
        self.snapshot = snapshot
        self.journal = Journal(snapshot.document["journal"] if snapshot else None)
        self.seconds_before: float = snapshot.document["seconds"] if snapshot else 0.0
        self.trained_tokens = 0
        self.rows = rows
        super().__init__(
            model=model, args=arguments, train_dataset=rows, eval_dataset=eval_rows or None
        )
        # The loss that we return is divided by all targets of the optimiser step already.
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.add_callback(Watch(self))

    def get_train_dataloader(self) -> DataLoader[Tokens]:
        batches = EpochBatches(
            [len(row) for row in self.rows], self._train_batch_size, self.args.seed
        )
        return _Loader(
            self.rows,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=partial(collate, pad_id=self.session.evaluator.pad_id),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            # Else every epoch draws a number from the global generator.
            generator=torch.Generator().manual_seed(self.args.seed),
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        batches = list(islice(epoch_iterator, num_batches))
        self.trained_tokens += sum(int(batch["attention_mask"].sum()) for batch in batches)
        self.session.on_tokens(self.trained_tokens)
        targets = sum(count_targets(batch["labels"]) for batch in batches)
        return batches, torch.tensor(max(targets, 1), device=device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        assert not return_outputs
        assert num_items_in_batch is not None
        return causal_loss(model, inputs, self.session.evaluator.sparse, num_items_in_batch)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        metrics = {"eval_loss": self.session.evaluator.loss(self.model, self.eval_dataset)}
        self.log(dict(metrics))
        return metrics

    def _save_checkpoint(self, *_: object) -> None:
        started = time.monotonic()
        snapshot = checkpoint.capture(
            self.state.global_step,
            self.model,
            self.optimizer,
            self.lr_scheduler,
            {
                "trainer": {**vars(self.state), "log_history": []},
                "loss_sum": float(self._tr_loss),
                "last_logged_step": self._globalstep_last_logged,
                "journal": self.journal.entries,
                "seconds": self.seconds,
            },
        )
        self.session.writer.submit(snapshot, time.monotonic() - started)

    def _load_from_checkpoint(self, *_: object) -> None:
        checkpoint.restore_model(self._resumed(), self.model)

    def _load_optimizer_and_scheduler(self, folder: str | None) -> None:
        if folder:
            checkpoint.restore_optimizer(self._resumed(), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, folder: str | None) -> None:
        if folder:
            checkpoint.restore_generators(self._resumed())

    def restore_logging(self) -> None:
        """The loss summed since the last log; the loop begins with none."""
        if self.snapshot:
            self._tr_loss += self.snapshot.document["loss_sum"]
            self._globalstep_last_logged = self.snapshot.document["last_logged_step"]

    def begin_clock(self) -> None:
        self._clock = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time of training, over all pods."""
        return self.seconds_before + time.monotonic() - self._clock

    def _resumed(self) -> Snapshot:
        assert self.snapshot
        return self.snapshot
