"""Training with transformers.Trainer: our batches, our loss, our checkpoints."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, set_seed

from luthier_api.result import ExitCode
from luthier_trainer.errors import Interrupted, Superseded, TrainerError
from luthier_trainer.log import log
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.training import best, checkpoint, generators, memory
from luthier_trainer.training.arguments import arguments, scheduler_options
from luthier_trainer.training.best import Best
from luthier_trainer.training.checkpoint import Snapshot
from luthier_trainer.training.environment import difference, environment
from luthier_trainer.training.finite import FiniteCheck
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.loader import take_rows, train_loader
from luthier_trainer.training.monitor import Monitor
from luthier_trainer.training.noise import noise_on_embeddings
from luthier_trainer.training.optimizers import page_again, prepare_optimizer
from luthier_trainer.training.session import Session
from luthier_trainer.training.watch import Watch

_DRAIN_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """The end of a training, finished or interrupted."""

    step: int  # the last one
    total_steps: int
    trained_tokens: int  # by this pod
    journal: Journal
    seconds: float
    best_step: int | None = None  # whose weights the model has, where early stopping watches
    peak_memory_bytes: int | None = None  # while this pod trained
    # Without evaluations, as it is estimated; None where this pod didn't do all steps.
    learning_seconds: float | None = None


def train(
    model: Any,
    objective: Objective,
    items: Sequence[Item],
    eval_items: Sequence[Item],
    session: Session,
    snapshot: Snapshot | None,
) -> Outcome:
    """Train to the end, or to the step in which a stop was asked for.

    `model`: as `resolve` left it: its layers compute their activations again, or keep them.
    With early stopping it ends with the weights of the best evaluation. `snapshot`: the state
    to go on from; its tensors are freed. The result equals that of an undisturbed run, bit for
    bit on the same processor with the same settings. Raises TrainerError (LossNotFinite,
    GradientNotFinite, NoInputEmbeddings, TooFewEvaluations, BestCheckpointLost, or what storage
    says).
    """
    if snapshot and snapshot.document["done"]:
        return _finished(model, session, snapshot)
    evaluates = bool(eval_items) and session.training.eval_every_steps is not None
    prepare_optimizer(session.training.optimizer)
    trainer = _Trainer(model, objective, items, eval_items, session, snapshot, evaluates)
    folder = None
    if snapshot:
        folder = str(
            checkpoint.local_resume_folder(snapshot, session.scratch / "resume", trainer.args)
        )
        changed = difference(snapshot.document["environment"], trainer.environment)
        if changed:
            log(f"warning: {changed}")
            session.reporter.set(inexact_resume=changed)
    # Whatever drew random numbers before must not change the result.
    set_seed(session.training.seed)
    memory.reset_peak()
    started = time.monotonic()
    noise = noise_on_embeddings(model, session.training.neftune_noise_alpha)
    with noise, session.interrupt.deferred():
        trainer.train(resume_from_checkpoint=folder)
    peak, learning = memory.peak_bytes(), trainer.seconds - trainer.paused_seconds
    all_steps = snapshot is None and trainer.state.global_step == trainer.state.max_steps
    if trainer.done and not session.interrupt.requested:
        _take_best(model, session, trainer.best, trainer.state.global_step)
    return Outcome(
        step=trainer.state.global_step,
        total_steps=trainer.state.max_steps,
        trained_tokens=trainer.trained_tokens,
        journal=trainer.journal,
        seconds=time.monotonic() - started,
        best_step=trainer.best.step if trainer.best else None,
        peak_memory_bytes=peak,
        learning_seconds=round(learning, 2) if all_steps else None,
    )


def _finished(model: Any, session: Session, snapshot: Snapshot) -> Outcome:
    """The end of a training whose last checkpoint this is."""
    checkpoint.restore_model(snapshot, model)
    snapshot.tensors.clear()
    total = snapshot.document["trainer"]["max_steps"]
    session.reporter.update(step=snapshot.step, total_steps=total)
    _take_best(model, session, _best_of(snapshot), snapshot.step)
    return Outcome(
        step=snapshot.step,
        total_steps=total,
        trained_tokens=0,
        journal=Journal(snapshot.document["journal"]),
        seconds=0.0,
        best_step=snapshot.best_step,
    )


def _take_best(model: Any, session: Session, found: Best | None, step: int) -> None:
    """Give the model the weights of the best evaluation."""
    if found is None or found.step == step:
        return
    log(f"the best {session.watched} was at step {found.step}: its weights are the result")
    while not session.writer.drain(_DRAIN_SECONDS):
        log("waiting for the last checkpoints to be uploaded")
    try:
        checkpoint.restore_weights(session.writer.store, found.step, session.scratch, model)
    except (ValueError, KeyError) as error:
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "BestCheckpointLost",
            f"the checkpoint of step {found.step}, whose weights are the result, can't be read: "
            f"{error}; nobody but the trainer may delete below checkpoints/. Change the spec to "
            "train anew",
            "training.earlyStopping",
        ) from error


def _best_of(snapshot: Snapshot | None) -> Best | None:
    document = snapshot.document.get("best") if snapshot else None
    return Best.read(document) if document else None


class _Trainer(Trainer):  # type: ignore[misc]
    """The loop of transformers with our parts. What is overridden is public or, where it
    begins with an underscore, a hook of transformers 5."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        items: Sequence[Item],
        eval_items: Sequence[Item],
        session: Session,
        snapshot: Snapshot | None,
        evaluates: bool,
    ) -> None:
        self.session = session
        self.objective = objective
        self.items = items
        self.evaluates = evaluates
        self.snapshot = snapshot
        self.environment = environment(session.precision.name, session.resolved.kept)
        self.journal = Journal(snapshot.document["journal"] if snapshot else None)
        self.seconds_before: float = snapshot.document["seconds"] if snapshot else 0.0
        self.trained_tokens = 0
        self.trained_examples = 0
        self.paused_seconds = 0.0  # for evaluations and copies of the state
        self.best = _best_of(snapshot)
        self.done = False
        # An evaluation that a stop put off.
        self.owes_evaluation = bool(snapshot and snapshot.document["owes_evaluation"])
        self.monitor = Monitor()
        super().__init__(
            model=model,
            args=arguments(session, evaluates),
            train_dataset=items,
            eval_dataset=eval_items or None,
        )
        self.finite = FiniteCheck(session.place, scaled=self.accelerator.scaler is not None)
        # The loss that we return is divided by all targets of the optimiser step already.
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.add_callback(Watch(self))

    def get_train_dataloader(self) -> DataLoader[Any]:
        return train_loader(
            self.items, self.objective, self.session, self.args.dataloader_pin_memory
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.args.lr_scheduler_kwargs = scheduler_options(self.session.training, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        started = time.monotonic()
        batches = list(islice(epoch_iterator, num_batches))
        self.monitor.waited(time.monotonic() - started)
        rows = [take_rows(batch) for batch in batches]
        self.finite.begin(rows)
        self.trained_examples += sum(map(len, rows))
        self.trained_tokens += sum(map(self.objective.count_tokens, batches))
        self.session.on_tokens(self.trained_tokens)
        targets = sum(map(self.objective.count_targets, batches))
        return batches, torch.tensor(max(targets, 1), device=device)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # The loop asks whether to stop after a step; an owed evaluation may end training before,
        # or be interrupted once more.
        if not (self.done or self.owes_evaluation):
            super()._run_epoch(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **kwargs)
        self.finite.add(loss)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        assert not return_outputs
        assert num_items_in_batch is not None
        return self.objective.loss(model, inputs, num_items_in_batch)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        self.finite.check(norm, self.state.global_step + 1)
        return norm

    def stop(self, *, owing: bool) -> None:
        """End here, as was asked for, with a checkpoint. `owing`: the evaluation of this step, for
        which the grace period isn't: who goes on begins with it, and is done no sooner."""
        self.owes_evaluation = owing
        self.done = self.done and not owing
        self.control.should_training_stop = True
        self.control.should_save = not self.session.interrupt.superseded

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        try:
            found: dict[str, float] = super()._evaluate(*args, **kwargs)
        except (Interrupted, Superseded):
            self.stop(owing=True)
            return {}
        return found

    def _determine_best_metric(self, *_: object, **__: object) -> bool:
        return False  # _judge keeps the best; of an evaluation that was stopped there is none

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        started = time.monotonic()
        # What was drawn is put back before a stop can be raised again.
        with generators.untouched(), self.session.interrupt.at_once():
            measured = self.session.measure(self.model, self.eval_dataset)
        metrics = {f"eval_{name}": value for name, value in measured.items()}
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        self._judge(measured)
        self.paused_seconds += time.monotonic() - started
        return metrics

    def _judge(self, measured: Mapping[str, float]) -> None:
        """Keep the state if it is the best; stop if there was none better for too long, or where
        the session says so."""
        settings, step = self.session.training.early_stopping, self.state.global_step
        goes_on = self.session.goes_on
        if goes_on and step < self.state.max_steps and not goes_on(step, measured):
            self.done = self.control.should_training_stop = True
        if settings is None:
            return
        value = measured[self.session.watched]
        self.best = best.updated(self.best, step, value, settings, self.session.lower_is_better)
        if self.best.waited >= settings.patience and step < self.state.max_steps:
            log(f"no better {self.session.watched} in {self.best.waited} evaluations: stopping")
            self.done = True
            self.control.should_training_stop = True
        if self.best.step == step or self.done:
            self.control.should_save = True

    def evaluate_what_is_owed(self) -> None:
        """The evaluation that the interrupted pod didn't take the time for."""
        if self.owes_evaluation:
            self.owes_evaluation = False
            # The loop sets them later; what is saved here has those of its step, too.
            checkpoint.restore_generators(self._resumed())
            self._evaluate(None, None)
            if self.owes_evaluation:  # interrupted again: the checkpoint stands as it is
                self.control.should_save = False
            elif self.state.global_step >= self.state.max_steps:
                self.done = self.control.should_save = True
            if self.control.should_save:
                self._save_checkpoint()
                self.control.should_save = False

    def _save_checkpoint(self, *_: object) -> None:
        started = time.monotonic()
        snapshot = checkpoint.capture(
            self.state.global_step,
            self.model,
            self.optimizer,
            self.lr_scheduler,
            {
                "trainer": {**vars(self.state), "log_history": []},
                "done": self.done,
                "owes_evaluation": self.owes_evaluation,
                "best": self.best.to_json() if self.best else None,
                "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
                "environment": self.environment,
                "resolved": self.session.resolved.kept,
                "loss_sum": float(self._tr_loss),
                "last_logged_step": self._globalstep_last_logged,
                "journal": self.journal.entries,
                "seconds": self.seconds,
            },
        )
        blocked = time.monotonic() - started
        self.paused_seconds += blocked
        self.session.writer.submit(snapshot, blocked)

    def _load_from_checkpoint(self, *_: object) -> None:
        checkpoint.restore_model(self._resumed(), self.model)

    def _load_optimizer_and_scheduler(self, folder: str | None) -> None:
        if folder:
            checkpoint.restore_optimizer(self._resumed(), self.optimizer, self.lr_scheduler)
            page_again(self.optimizer)

    def _load_scaler(self, folder: str | None) -> None:
        state = self._resumed().document["scaler"] if folder else None
        if state and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state)

    def _load_rng_state(self, folder: str | None) -> None:
        if folder:
            checkpoint.restore_generators(self._resumed())
            self._resumed().tensors.clear()  # all is restored: its memory

    def restore_logging(self) -> None:
        """The loss summed since the last log; the loop begins with none."""
        if self.snapshot:
            self._tr_loss += self.snapshot.document["loss_sum"]
            self._globalstep_last_logged = self.snapshot.document["last_logged_step"]

    def begin_clock(self) -> None:
        self._clock = time.monotonic()
        self.monitor.start()

    @property
    def seconds(self) -> float:
        """Time of training, over all pods."""
        return self.seconds_before + time.monotonic() - self._clock

    def _resumed(self) -> Snapshot:
        assert self.snapshot
        return self.snapshot
