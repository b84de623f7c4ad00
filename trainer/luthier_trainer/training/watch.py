"""What watches a training: progress, the log, and the request to stop."""

import time
from typing import Any, Protocol

from transformers import TrainerCallback

from luthier_trainer.log import log
from luthier_trainer.progress import Pace
from luthier_trainer.training.evaluations import check_evaluations
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.monitor import Monitor, entries
from luthier_trainer.training.overfitting import overfitting
from luthier_trainer.training.session import Session


class Watched(Protocol):
    """What is read of a trainer, and told to it."""

    session: Session
    journal: Journal
    monitor: Monitor
    trained_tokens: int
    trained_examples: int
    paused_seconds: float
    evaluates: bool
    done: bool
    owes_evaluation: bool

    @property
    def seconds(self) -> float: ...

    def begin_clock(self) -> None: ...

    def restore_logging(self) -> None: ...

    def evaluate_what_is_owed(self) -> None: ...

    def stop(self, *, owing: bool) -> None: ...


class Watch(TrainerCallback):  # type: ignore[misc]
    """Progress, the log, and the request to stop."""

    def __init__(self, trainer: Watched) -> None:
        self._trainer = trainer
        self._session = trainer.session
        self._told_overfitting = False

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        check_evaluations(self._session.training, state.max_steps)
        self._trainer.begin_clock()
        self._trainer.restore_logging()
        self._pace = Pace(state.global_step, state.max_steps)
        self._session.reporter.update(step=state.global_step, total_steps=state.max_steps)
        self._trainer.evaluate_what_is_owed()
        self._mark()

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        self._session.writer.check()
        # Each evaluation has a training loss beside it, for who compares them.
        control.should_log |= control.should_evaluate
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_evaluate = self._trainer.evaluates
            self._trainer.done = True
        if self._session.interrupt.requested and (
            control.should_evaluate or not self._trainer.done
        ):
            self._trainer.stop(owing=control.should_evaluate)
            control.should_evaluate = False
        self._session.reporter.update(step=state.global_step, epoch=round(state.epoch, 3))
        self._session.reporter.set(eta_seconds=self._pace.eta_seconds(state.global_step))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        if "eval_loss" in logs:
            self._on_evaluation(state, {k: v for k, v in logs.items() if k.startswith("eval_")})
        elif "loss" in logs:
            self._on_loss(state, logs)

    def _on_evaluation(self, state: Any, values: dict[str, float]) -> None:
        self._record(state, values)
        self._session.reporter.update(eval_loss=values["eval_loss"])
        self._session.reporter.set(eval_metrics=values)
        told = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        log(f"step {state.global_step}/{state.max_steps} {told}")
        journal = self._trainer.journal
        found = overfitting(journal.series("loss"), journal.series("eval_loss"))
        self._session.reporter.set(overfitting=found)
        if found and not self._told_overfitting:
            self._told_overfitting = True
            log(f"warning: {found}")

    def _on_loss(self, state: Any, logs: dict[str, float]) -> None:
        seconds = self._training_seconds()
        tokens, examples = self._rates(seconds)
        machine = self._trainer.monitor.read(seconds)
        self._mark()
        told = {
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs.get("grad_norm", 0.0)),
            "tokens_per_second": tokens,
            "samples_per_second": examples,
        }
        self._record(state, {**told, "epoch": state.epoch, **entries(machine)})
        self._session.reporter.update(**told)
        self._session.reporter.set(machine=machine)
        eta = self._pace.eta_seconds(state.global_step)
        log(
            f"step {state.global_step}/{state.max_steps} loss {logs['loss']:.4f} "
            f"lr {logs['learning_rate']:.2e} {tokens:.0f} tokens/s"
            + (f" eta {eta:.0f} s" if eta is not None else "")
        )

    def _mark(self) -> None:
        trainer = self._trainer
        self._since = time.monotonic() - trainer.paused_seconds
        self._tokens, self._examples = trainer.trained_tokens, trainer.trained_examples

    def _training_seconds(self) -> float:
        """Since the last log, evaluations left out."""
        return max(time.monotonic() - self._trainer.paused_seconds - self._since, 1e-9)

    def _rates(self, seconds: float) -> tuple[float, float]:
        """Tokens and examples a second, of so many seconds since the last log."""
        trainer = self._trainer
        tokens = (trainer.trained_tokens - self._tokens) / seconds
        return round(tokens, 1), round((trainer.trained_examples - self._examples) / seconds, 2)

    def _record(self, state: Any, values: dict[str, float]) -> None:
        self._trainer.journal.add(
            state.global_step, {**values, "seconds": round(self._trainer.seconds, 2)}
        )
