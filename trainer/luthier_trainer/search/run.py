"""A run that searches: one worker of it, up to the import of torch."""

import os

from luthier_api.result import ExitCode, RunResult
from luthier_api.runspec import RunSpec
from luthier_api.searchspace import problem
from luthier_trainer.data import record
from luthier_trainer.distributed.place import INDEX
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.preflight import load_base
from luthier_trainer.finetune.run import Sources, execute
from luthier_trainer.finetune.state import State
from luthier_trainer.models import cache
from luthier_trainer.pod.pod import Pod
from luthier_trainer.search.records import Records


class SearchRun:
    """See main.AnyRun."""

    def __init__(self, spec: RunSpec) -> None:
        self.pod = Pod(spec)
        self.state = State(spec, self.pod)

    def execute(self) -> RunResult:
        """All of it. Raises TrainerError, Interrupted or Superseded."""
        if found := problem(self.state.spec.fine_tuning):
            field, message = found
            raise TrainerError(ExitCode.INVALID_RUN_SPEC, "InvalidSearch", message, field)
        return execute(self.state, make_trials)

    def result(self, outcome: str, failure: TrainerError | None = None) -> RunResult:
        """What is known now, as the end of this pod."""
        return self.state.result(outcome, failure)


def make_trials(state: State, given: Sources) -> RunResult:
    """Until none is left. Who ends the last one publishes the best."""
    index = os.environ.get(INDEX, "")
    worker = int(index) if index.isdecimal() else 0
    output, base, examples = given.output, given.base, given.examples
    made_from = (examples.digest, cache.identity(base), given.start)
    attempts = state.pod.claim(output, *made_from, part=worker)
    record.leave(output, examples)
    if worker == 0:  # trackers have one run of the search, below which its trials are
        state.telling.begin(output, given.folder, examples.digest, base, given.start)
    records = Records(output, state.spec.run, worker)
    # A pod that began a trial got further than its predecessors.
    state.pod.begin(records.taken(records.read()))
    model_folder = load_base(state, base)
    # Only now: the import of torch and transformers takes seconds.
    from luthier_trainer.search.shared import Shared
    from luthier_trainer.search.worker import Worker

    shared = Shared(state, attempts, records, output, given.folder)
    return Worker(shared).execute(base, model_folder)
