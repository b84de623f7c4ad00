"""A process that trains beside the first one: it claims, reports, saves and publishes nothing."""

import time

from luthier_api.result import RunResult
from luthier_api.runspec import RunSpec
from luthier_api.runstatus import Usage
from luthier_trainer.distributed.place import place_of
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.finetune.agreement import agree
from luthier_trainer.finetune.preflight import check_data, find_base, find_result, load_base
from luthier_trainer.finetune.startfrom import find_start
from luthier_trainer.finetune.state import State
from luthier_trainer.log import log
from luthier_trainer.models.cache import identity
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.pod import Pod
from luthier_trainer.storage.open import open_store

# Between looks whether there is still something to do, while the first one is waited for.
_LOOK_SECONDS = 30.0


class _NothingToDoError(Exception):
    """The result is there already."""


class Peer:
    """A run's part of a process that isn't the first."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec.model_copy(update={"progress": None})
        self.pod = Pod(self.spec)
        self.state = State(self.spec, self.pod)

    def execute(self) -> RunResult:
        """Train with the others. Raises TrainerError, Interrupted, PeersLost."""
        state = self.state
        with self.pod.scratch() as folder:
            output = open_store(self.spec.output, self.spec.storage, "output.uri")
            if finished(output, self.spec):
                return self.result("Succeeded")
            base = find_base(state, output)
            examples = check_data(state, folder)
            model_folder = load_base(state, base)
            made_from = (examples.digest, identity(base), find_start(self.spec))
            looked = 0.0

            def check() -> None:
                nonlocal looked
                self.pod.interrupt.check()
                if time.monotonic() - looked > _LOOK_SECONDS:
                    looked = time.monotonic()
                    if find_result(self.spec, output, *made_from):
                        raise _NothingToDoError

            from luthier_trainer.distributed.world import meet
            from luthier_trainer.finetune.finetune import accompany
            from luthier_trainer.finetune.job import Job

            try:
                world = meet(place_of(self.spec), check)
            except _NothingToDoError:
                return self.result("Succeeded")
            agree(self.pod, base, examples, world.share())
            job = Job(
                state=state,
                attempts=_NoLedger(),
                output=output,
                target=output,
                base=base,
                model_folder=model_folder,
                examples=examples,
                folder=folder,
                world=world,
            )
            try:
                accompany(job)
                state.save_what_waits()  # its parts of checkpoints
            except (Exception, Interrupted):
                state.save_what_waits()
                raise
        log("trained and measured: the first process publishes the result")
        return self.result("Succeeded")

    def result(self, outcome: str, failure: TrainerError | None = None) -> RunResult:
        """How this process ended: the result is the first one's to tell."""
        return self.state.result(outcome, failure)


class _NoLedger:
    """The first process notes how far they are."""

    usage = Usage()

    def fence(self) -> None: ...

    def resume_from(self, step: int) -> None: ...

    def advance(self, step: int, usage: Usage) -> None: ...

    def end(self, outcome: str, code: str | None, usage: Usage) -> None: ...
