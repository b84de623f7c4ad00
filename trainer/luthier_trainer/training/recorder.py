"""What is told of a training while it goes on: progress, the log, the journal."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from luthier_trainer.log import log
from luthier_trainer.pod.progress import Pace
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.monitor import Monitor, entries
from luthier_trainer.training.overfitting import overfitting
from luthier_trainer.training.session import Session


class Recorder:
    """Clocks and counts of this pod's part of a training, and what is told of it.

    `seconds_before`: of training by the pods before.
    """

    def __init__(
        self, session: Session, journal: Journal, seconds_before: float, step: int, total: int
    ) -> None:
        self.journal = journal
        self.trained_tokens = self.trained_examples = 0
        self.paused_seconds = 0.0  # for evaluations and copies of the state
        self._session = session
        self._seconds_before = seconds_before
        self._step, self._total = step, total
        self._monitor = Monitor()
        self._told_overfitting = False

    def begin(self) -> None:
        """Training starts now."""
        self._clock = time.monotonic()
        self._monitor.start()
        self._pace = Pace(self._step, self._total)
        self._session.reporter.update(step=self._step, total_steps=self._total)
        if self._session.on_journal:
            self._session.on_journal(self.journal)
        self._mark()

    @property
    def seconds(self) -> float:
        """Time of training, over all pods."""
        return self._seconds_before + time.monotonic() - self._clock

    @property
    def learning_seconds(self) -> float:
        """The same without evaluations and copies of the state."""
        return self.seconds - self.paused_seconds

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Training waits for its next batches."""
        started = time.monotonic()
        yield
        self._monitor.waited(time.monotonic() - started)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Something else than learning is done."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.paused_seconds += time.monotonic() - started

    def learns(self, examples: int, tokens: int) -> None:
        """The next step learns from so many."""
        self.trained_examples += examples
        self.trained_tokens += tokens
        self._session.on_tokens(self.trained_tokens)

    def on_step(self, step: int, epoch: float) -> None:
        """A step is done."""
        self._session.reporter.update(step=step, epoch=round(epoch, 3))
        self._session.reporter.set(eta_seconds=self._pace.eta_seconds(step))

    def on_loss(self, step: int, epoch: float, loss: float, rate: float, norm: float) -> None:
        """The mean loss since the last time, with the step's learning rate and gradient."""
        seconds = self._learning_seconds()
        machine = self._monitor.read(seconds)
        tokens = (self.trained_tokens - self._tokens) / seconds
        measures = {
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens_per_second": round(tokens, 1),
            "samples_per_second": round((self.trained_examples - self._examples) / seconds, 2),
        }
        self._mark()
        self._record(step, {**measures, "epoch": epoch, **entries(machine)})
        self._session.reporter.update(**measures)
        self._session.reporter.set(machine=machine)
        eta = self._pace.eta_seconds(step)
        log(
            f"step {step}/{self._total} loss {loss:.4f} lr {rate:.2e} {tokens:.0f} tokens/s"
            + (f" eta {eta:.0f} s" if eta is not None else "")
        )

    def on_evaluation(self, step: int, measured: Mapping[str, float]) -> None:
        """What was measured on eval."""
        values = {f"eval_{name}": value for name, value in measured.items()}
        self._record(step, values)
        self._session.reporter.update(eval_loss=values["eval_loss"])
        self._session.reporter.set(eval_metrics=values)
        line = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        log(f"step {step}/{self._total} {line}")
        found = overfitting(self.journal.series("loss"), self.journal.series("eval_loss"))
        self._session.reporter.set(overfitting=found)
        if found and not self._told_overfitting:
            self._told_overfitting = True
            log(f"warning: {found}")

    def _mark(self) -> None:
        self._since = time.monotonic() - self.paused_seconds
        self._tokens, self._examples = self.trained_tokens, self.trained_examples

    def _learning_seconds(self) -> float:
        """Since the last loss, pauses left out."""
        return max(time.monotonic() - self.paused_seconds - self._since, 1e-9)

    def _record(self, step: int, values: Mapping[str, float]) -> None:
        self.journal.add(step, {**values, "seconds": round(self.seconds, 2)})
