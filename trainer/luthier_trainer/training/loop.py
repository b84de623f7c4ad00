"""The training loop: batches, forward and loss, backward, clip, step; then log, evaluate, save.

A reader who looks for the step itself finds it in `_Training._step`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.distributed.shards import parts_of, shards_of
from luthier_trainer.errors import Interrupted, PeersLost, Superseded
from luthier_trainer.log import log
from luthier_trainer.machine import device, memory
from luthier_trainer.models.temporary import forward_instead
from luthier_trainer.objectives.objective import Batch, Item, Objective, PreparedObjective
from luthier_trainer.training import best, checkpoint, generators
from luthier_trainer.training.best import Best
from luthier_trainer.training.bestweights import best_of, take_best
from luthier_trainer.training.checkpoint import Snapshot
from luthier_trainer.training.environment import difference, environment
from luthier_trainer.training.evaluations import check_evaluations
from luthier_trainer.training.gradients import clip_gradients, drop_gradients, sum_gradients
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.length import Length
from luthier_trainer.training.loader import take_rows, train_loader
from luthier_trainer.training.neftune import noise_on_embeddings
from luthier_trainer.training.nonfinite import NonFiniteCheck
from luthier_trainer.training.optimizers import make_optimizer, page_again
from luthier_trainer.training.recorder import Recorder
from luthier_trainer.training.schedule import follows_evaluations, make_schedule
from luthier_trainer.training.session import Session


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
    stopped: bool = False  # before its end, with a checkpoint, as was asked for


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
    started = time.monotonic()
    # Whatever drew random numbers before must not change the result.
    generators.seed(session.training.seed)
    training = _Training(model, objective, items, eval_items, session, snapshot)
    memory.reset_peak()
    noise = noise_on_embeddings(model, session.training.neftune_noise_alpha)
    forward = _autocast_forward(model, session.precision.autocast)
    with noise, forward, session.interrupt.deferred():
        training.run()
    alone = session.world.size == 1
    if training.done and not (training.stopping or (alone and session.interrupt.requested)):
        take_best(model, session, training.best, training.step)
    recorder = training.recorder
    all_steps = snapshot is None and training.step == training.length.total
    return Outcome(
        step=training.step,
        total_steps=training.length.total,
        trained_tokens=recorder.trained_tokens,
        journal=recorder.journal,
        seconds=time.monotonic() - started,
        best_step=training.best.step if training.best else None,
        peak_memory_bytes=memory.peak_bytes(),
        learning_seconds=round(recorder.learning_seconds, 2) if all_steps else None,
        stopped=training.stopping,
    )


class _Training:
    """The state of a training, and what is done with it, step by step."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        items: Sequence[Item],
        eval_items: Sequence[Item],
        session: Session,
        snapshot: Snapshot | None,
    ) -> None:
        training = session.training
        self.model, self.objective, self.session = model, objective, session
        if not shards_of(model):
            model.to(device.name())
        self.eval_items, self.world = eval_items, session.world
        per_step = training.gradient_accumulation_steps * self.world.size
        if snapshot:  # as many as it began with, whoever shares them now
            per_step = snapshot.document.get("batches_per_step", per_step)
        self.loader = train_loader(items, objective, session, per_step)
        # Where others have a batch more in a step (_learn_nothing).
        self.stand_in = session.collate(objective, [items[0]]) if shards_of(model) else {}
        self.length = Length.of(training, len(self.loader), per_step)
        check_evaluations(training, self.length.total)
        self.optimizer = make_optimizer(model, training)
        self.schedule = make_schedule(self.optimizer, training, self.length.total)
        # Multiplies the loss, so that small gradients of fp16 aren't lost.
        self.scaler = torch.amp.GradScaler(device.name(), enabled=session.precision.name == "fp16")
        self.nonfinite = NonFiniteCheck(session.place, self.scaler.is_enabled(), self.world)
        self.environment = environment(
            session.precision.name, self.world.size, session.resolved.kept
        )

        self.step = 0
        self.loss_sum = torch.zeros((), device=device.name())  # since it was last logged
        self.logged_step = 0
        self.best: Best | None = None
        self.done = False
        self.owes_evaluation = False  # one that a stop put off
        self.stopping = False
        journal, seconds = Journal(), 0.0
        if snapshot:
            journal, seconds = self._restore(snapshot)
        self.recorder = Recorder(session, journal, seconds, self.step, self.length.total)

    def run(self) -> None:
        """All steps that are left, or those until a stop. Raises PeersLost, behind a checkpoint of
        the last whole step."""
        self.recorder.begin()
        try:
            with self.world.alive():
                self._run()
        except PeersLost:
            lost = self.session.interrupt.superseded or parts_of(self.model)
            if self.step and not lost:
                self._save(self.length.epoch_after(self.step))
            raise

    def _run(self) -> None:
        if self.owes_evaluation:
            self._evaluate_what_is_owed()
        self.model.train()
        steps = self._batches_of_steps()
        while self.step < self.length.total and not (self.done or self.stopping):
            with self.recorder.waiting():
                epoch, batches = next(steps)
            rate, norm = self._step(batches)
            self._after_step(epoch, rate, norm)

    def _step(self, batches: Sequence[Batch]) -> tuple[float, Tensor]:
        """One step of the optimiser on its batches: (learning rate, norm of the gradient)."""
        rows = [take_rows(batch) for batch in batches]
        targets, tokens, examples = self.world.add(
            sum(map(self.objective.count_targets, batches)),
            sum(map(self.objective.count_tokens, batches)),
            sum(map(len, rows)),
        )
        self.recorder.learns(int(examples), int(tokens))
        self.nonfinite.begin(rows)
        if self.world.size > 1:
            generators.seed_step(self.session.training.seed, self.step, self.world.rank)
        total = torch.zeros_like(self.loss_sum)
        if isinstance(self.objective, PreparedObjective):
            batches = self.objective.prepare(self.model, batches, self.world.add_tensor)
        for batch in batches:
            batch = {k: v.to(device.name(), non_blocking=True) for k, v in batch.items()}
            loss = self.objective.loss(self.model, batch, targets or 1)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.nonfinite.add(loss.detach())
            total += loss.detach()
        self._learn_nothing(len(batches))
        self.world.add_tensor(total)
        sum_gradients(self.model, self.world)
        self.scaler.unscale_(self.optimizer)
        # Zero is no limit: the norm is measured all the same.
        most = self.session.training.max_grad_norm or torch.inf
        norm = clip_gradients(self.model, most, self.world)
        self.nonfinite.check(total, norm, self.step + 1)
        self.loss_sum += total
        rate = float(self.optimizer.param_groups[0]["lr"])
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # A lower scale tells of a gradient that overflowed, and of a step that was left out.
        if self.scaler.get_scale() >= scale and not follows_evaluations(self.session.training):
            self.schedule.step()
        drop_gradients(self.model)
        self.step += 1
        return rate, norm

    def _learn_nothing(self, learnt: int) -> None:
        """Go on with the others where they have a batch more in this step: a shared-out model runs
        in all of them at once."""
        if not shards_of(self.model):
            return
        count = self.length.batches_of(self.step % self.length.steps_per_epoch)
        for _ in range(-(-count // self.world.size) - learnt):
            batch = {k: v.to(device.name()) for k, v in self.stand_in.items()}
            loss = self.objective.loss(self.model, batch, 1)
            torch.autograd.backward(0.0 * loss)

    def _after_step(self, epoch: float, rate: float, norm: Tensor) -> None:
        training, step = self.session.training, self.step
        self.session.writer.check()
        self.done = last = step == self.length.total
        evaluates = self._evaluates and (last or step % (training.eval_every_steps or step) == 0)
        saves = last or step % training.save_every_steps == 0
        # Each evaluation has a training loss beside it, for who compares them.
        logs = evaluates or last or step == 1 or step % training.log_every_steps == 0
        if self.world.any(self.session.interrupt.requested) and (evaluates or not last):
            saves = self._stop(owing=evaluates)
            evaluates = False
        self.recorder.on_step(step, epoch)
        if logs:
            mean = float(self.loss_sum) / (step - self.logged_step)
            self.recorder.on_loss(step, epoch, mean, rate, float(norm))
            self.loss_sum.zero_()
            self.logged_step = step
        if evaluates:
            saves = self._evaluate() or saves
        if saves and not self.session.interrupt.superseded:
            self._save(epoch)

    @property
    def _evaluates(self) -> bool:
        return bool(self.eval_items) and self.session.training.eval_every_steps is not None

    def _evaluate(self) -> bool:
        """Measure, and judge what was measured; whether the state is to be saved for it."""
        try:
            # What was drawn is put back before a stop can be raised again.
            with self.recorder.paused(), generators.untouched(), self._may_be_left():
                measured = self.session.measure(self.model, self.eval_items)
        except PeersLost:
            self._stop(owing=True)
            raise
        except (Interrupted, Superseded):
            return self._stop(owing=True)
        self.recorder.on_evaluation(self.step, measured)
        if follows_evaluations(self.session.training):
            self.schedule.step(measured["loss"])
        return self._judge(measured)

    def _may_be_left(self) -> AbstractContextManager[None]:
        """Within it a stop is raised at any point; of a shared-out model all stop at one
        (lockstep.py)."""
        shared = shards_of(self.model)
        return nullcontext() if shared else self.session.interrupt.at_once()

    def _judge(self, measured: Mapping[str, float]) -> bool:
        """Whether the state must be kept; ends the training where there was nothing better for
        too long, or where the session says so."""
        settings, step = self.session.training.early_stopping, self.step
        goes_on = self.session.goes_on
        if goes_on and step < self.length.total and not goes_on(step, measured):
            self.done = True
        if settings is None:
            return False
        value = measured[self.session.watched]
        self.best = best.updated(self.best, step, value, settings, self.session.lower_is_better)
        if self.best.waited >= settings.patience and step < self.length.total:
            log(f"no better {self.session.watched} in {self.best.waited} evaluations: stopping")
            self.done = True
        return self.best.step == step or self.done

    def _evaluate_what_is_owed(self) -> None:
        """The evaluation that the interrupted pod didn't take the time for."""
        self.owes_evaluation = False
        saves = self._evaluate()
        if self.owes_evaluation:  # interrupted again: the checkpoint stands as it is
            return
        if self.step >= self.length.total:
            self.done = saves = True
        if saves:
            self._save(self.length.epoch_after(self.step))

    def _stop(self, *, owing: bool) -> bool:
        """End here, as was asked for; whether with a checkpoint. `owing`: the evaluation of this
        step, for which the grace period isn't: who goes on begins with it, and is done no
        sooner."""
        self.owes_evaluation = owing
        self.done = self.done and not owing
        self.stopping = True
        return not self.session.interrupt.superseded

    def _batches_of_steps(self) -> Iterator[tuple[float, list[Batch]]]:
        """(epoch after the step, this process' batches of it) of all that are left."""
        epoch, first = divmod(self.step, self.length.steps_per_epoch)
        while True:
            self.loader.begin(epoch, first * self.length.batches_per_step)
            batches = iter(self.loader)
            for step in range(first, self.length.steps_per_epoch):
                after = self.length.epoch_after(epoch * self.length.steps_per_epoch + step + 1)
                mine = range(self.world.rank, self.length.batches_of(step), self.world.size)
                yield after, list(islice(batches, len(mine)))
            epoch, first = epoch + 1, 0

    def _save(self, epoch: float) -> None:
        if not (self.world.is_first or parts_of(self.model)):
            return
        started = time.monotonic()
        self.session.writer.make_room(self.best.step if self.best else None)
        snapshot = checkpoint.capture(
            self.step,
            self.model,
            self.optimizer,
            self.schedule,
            {
                "trainer": {
                    "global_step": self.step,
                    "max_steps": self.length.total,
                    "epoch": epoch,
                },
                "done": self.done,
                "owes_evaluation": self.owes_evaluation,
                "best": self.best.to_json() if self.best else None,
                "scaler": self.scaler.state_dict() if self.scaler.is_enabled() else None,
                "environment": self.environment,
                "resolved": self.session.resolved.kept,
                "loss_sum": float(self.loss_sum),
                "last_logged_step": self.logged_step,
                "batches_per_step": self.length.batches_per_step,
                "journal": self.recorder.journal.entries,
                "seconds": self.recorder.seconds,
            },
        )
        blocked = time.monotonic() - started
        self.recorder.paused_seconds += blocked
        self.session.writer.submit(snapshot, blocked)

    def _restore(self, snapshot: Snapshot) -> tuple[Journal, float]:
        """Set what a checkpoint holds: (journal, seconds of training) of the pods before."""
        document = snapshot.document
        checkpoint.restore_model(snapshot, self.model)
        checkpoint.restore_optimizer(snapshot, self.model, self.optimizer, self.schedule)
        page_again(self.optimizer)
        if document["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(document["scaler"])
        self.step, self.logged_step = snapshot.step, document["last_logged_step"]
        self.loss_sum += document["loss_sum"]
        self.best, self.owes_evaluation = best_of(snapshot), bool(document["owes_evaluation"])
        changed = difference(document["environment"], self.environment)
        if changed:
            log(f"warning: {changed}")
            self.session.reporter.set(inexact_resume=changed)
        checkpoint.restore_generators(snapshot)
        snapshot.tensors.clear()  # all is restored: its memory
        return Journal(document["journal"]), document["seconds"]


@contextmanager
def _autocast_forward(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Within it the model's forward computes in `dtype`; the loss, outside of it, in the type of
    what comes out. None: all in the type of the weights."""
    if dtype is None:
        yield
        return
    with forward_instead(model, torch.autocast(device.name(), dtype)(model.forward)):
        yield


def _finished(model: Any, session: Session, snapshot: Snapshot) -> Outcome:
    """The end of a training whose last checkpoint this is."""
    checkpoint.restore_model(snapshot, model)
    snapshot.tensors.clear()
    total = snapshot.document["trainer"]["max_steps"]
    session.reporter.update(step=snapshot.step, total_steps=total)
    take_best(model, session, best_of(snapshot), snapshot.step)
    return Outcome(
        step=snapshot.step,
        total_steps=total,
        trained_tokens=0,
        journal=Journal(snapshot.document["journal"]),
        seconds=0.0,
        best_step=snapshot.best_step,
    )
