"""What watches a training: progress, the log, and the request to stop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback

from luthier_api.finetuning import Training
from luthier_api.result import ExitCode
from luthier_trainer.checkpointwriter import CheckpointWriter
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluate import Evaluator
from luthier_trainer.interrupt import Interrupt
from luthier_trainer.journal import Journal
from luthier_trainer.log import log
from luthier_trainer.model import Precision
from luthier_trainer.progress import Pace, Reporter


@dataclass(frozen=True)
class Session:
    """What a training needs beside its model and its rows."""

    training: Training
    precision: Precision
    scratch: Path
    evaluator: Evaluator
    interrupt: Interrupt
    reporter: Reporter
    writer: CheckpointWriter
    on_tokens: Callable[[int], None]  # told how many tokens this pod has learnt from


class Watched(Protocol):
    """What is read of a trainer, and told to it."""

    session: Session
    journal: Journal
    trained_tokens: int

    @property
    def seconds(self) -> float: ...

    def begin_clock(self) -> None: ...

    def restore_logging(self) -> None: ...


class Watch(TrainerCallback):  # type: ignore[misc]
    """Progress, the log, and the request to stop."""

    def __init__(self, trainer: Watched) -> None:
        self._trainer = trainer
        self._session = trainer.session
        self._tokens_logged = 0
        self._logged_at = 0.0

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._trainer.begin_clock()
        self._trainer.restore_logging()
        self._pace = Pace(state.global_step, state.max_steps)
        self._logged_at = time.monotonic()
        self._session.reporter.update(step=state.global_step, total_steps=state.max_steps)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        self._session.writer.check()
        if state.global_step >= state.max_steps:
            control.should_log = True
        if self._session.interrupt.requested:
            control.should_training_stop = True
            control.should_save = not self._session.interrupt.superseded
        self._session.reporter.update(step=state.global_step, epoch=round(state.epoch, 3))
        self._session.reporter.set(eta_seconds=self._pace.eta_seconds(state.global_step))

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        if "eval_loss" in logs:
            self._record(state, {"eval_loss": logs["eval_loss"]})
            self._session.reporter.update(eval_loss=logs["eval_loss"])
            log(f"step {state.global_step}/{state.max_steps} eval_loss {logs['eval_loss']:.4f}")
        elif "loss" in logs:
            self._on_loss(state, logs)

    def _on_loss(self, state: Any, logs: dict[str, float]) -> None:
        now = time.monotonic()
        rate = (self._trainer.trained_tokens - self._tokens_logged) / (now - self._logged_at)
        self._tokens_logged, self._logged_at = self._trainer.trained_tokens, now
        if not math.isfinite(logs["loss"]):
            raise TrainerError(
                ExitCode.UNSUPPORTED,
                "LossNotFinite",
                f"the training loss is {logs['loss']} at step {state.global_step}; lower "
                "training.learningRate, or set training.precision to fp32",
                "training.learningRate",
            )
        values = {
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": float(logs.get("grad_norm", 0.0)),
            "epoch": state.epoch,
            "tokens_per_second": round(rate, 1),
        }
        self._record(state, values)
        self._session.reporter.update(
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            tokens_per_second=round(rate, 1),
        )
        eta = self._pace.eta_seconds(state.global_step)
        log(
            f"step {state.global_step}/{state.max_steps} loss {logs['loss']:.4f} "
            f"lr {logs['learning_rate']:.2e} {rate:.0f} tokens/s"
            + (f" eta {eta:.0f} s" if eta is not None else "")
        )

    def _record(self, state: Any, values: dict[str, float]) -> None:
        self._trainer.journal.add(
            state.global_step, {**values, "seconds": round(self._trainer.seconds, 2)}
        )
