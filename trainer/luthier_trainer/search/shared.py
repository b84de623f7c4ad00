"""What all parts of a worker use."""

from dataclasses import dataclass, field
from pathlib import Path

from luthier_api.finetuning import FineTuning
from luthier_api.runstatus import Usage
from luthier_api.search import Search
from luthier_trainer.data.examples import Examples
from luthier_trainer.finetune.job import Encodings
from luthier_trainer.finetune.state import State
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.search.records import Records, folder_of
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store


@dataclass(frozen=True)
class Shared:
    """`state`: of the whole search; `output`: its revision's folder; `folder`: scratch space."""

    state: State
    attempts: Attempts
    records: Records
    output: ObjectStore
    folder: Path
    encodings: Encodings = field(default_factory=dict)

    @property
    def examples(self) -> Examples:
        """The rows, which are the same for all trials."""
        assert self.state.examples
        return self.state.examples

    @property
    def tuning(self) -> FineTuning:
        """What the spec says, before a trial's values."""
        return self.state.spec.fine_tuning

    @property
    def search(self) -> Search:
        """What is searched."""
        assert self.tuning.search
        return self.tuning.search

    def store_of(self, number: int) -> ObjectStore:
        """A trial's folder."""
        uri = join(self.state.spec.output, folder_of(number))
        return open_store(uri, self.state.spec.storage, "output.uri")

    def note_usage(self) -> None:
        """Note in storage that a trial more has ended, and tell what the search has cost."""
        self.attempts.advance(self.attempts.own.step + 1, self.state.pod.usage())
        self.attempts.read_beside()
        reporter = self.state.reporter
        reporter.set(usage=self.attempts.usage, restarts=self.attempts.restarts)


@dataclass(frozen=True)
class TrialLedger:
    """A trial's word on how far it is, in a pod whose record is the worker's (attempts.Ledger)."""

    attempts: Attempts

    @property
    def usage(self) -> Usage:
        return self.attempts.usage

    def fence(self) -> None:
        self.attempts.fence()

    def resume_from(self, step: int) -> None:
        """The trial's own record tells."""

    def advance(self, _step: int, usage: Usage) -> None:
        self.attempts.advance(self.attempts.own.step, usage)

    def end(self, outcome: str, code: str | None, usage: Usage) -> None:
        self.attempts.end(outcome, code, usage)
