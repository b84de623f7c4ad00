"""A run that fine-tunes, in one pod: from the order to the result, or to what made another pod's
or an earlier revision's result this one's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from luthier_api.result import RunResult
from luthier_api.revision import revision_number
from luthier_api.runspec import InUseOrder, RunSpec
from luthier_trainer.data import record
from luthier_trainer.data.examples import Examples
from luthier_trainer.distributed.place import place_of
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.finetune.agreement import agreement
from luthier_trainer.finetune.preflight import check_data, find_base, find_result, load_base
from luthier_trainer.finetune.startfrom import find_start
from luthier_trainer.finetune.state import State
from luthier_trainer.log import log
from luthier_trainer.models import cache
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.pod.claim import REVISION_TAKEN, Start
from luthier_trainer.pod.finished import finished
from luthier_trainer.pod.inuse import IN_USE, write_in_use
from luthier_trainer.pod.pod import Pod
from luthier_trainer.pod.revisions import beside, newest_first
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store
from luthier_trainer.training.checkpointfolder import complete_steps


@dataclass(frozen=True)
class Sources:
    """All that a result is made from is there. `folder`: scratch space."""

    output: ObjectStore
    base: BaseModel
    examples: Examples
    start: Start | None
    folder: Path


# What costs: from the sources to the result.
Work = Callable[[State, Sources], RunResult]


class Run:
    """See main.AnyRun."""

    def __init__(self, spec: RunSpec) -> None:
        self.pod = Pod(spec)
        self.state = State(spec, self.pod)

    def execute(self) -> RunResult:
        """All of it. Raises TrainerError, Interrupted or Superseded."""
        return execute(self.state, train_and_publish)

    def result(self, outcome: str, failure: TrainerError | None = None) -> RunResult:
        """What is known now, as the end of this pod."""
        return self.state.result(outcome, failure)


def execute(state: State, work: Work) -> RunResult:
    """Preflight, then `work`. Raises TrainerError, Interrupted or Superseded."""
    with state.pod.scratch() as folder:
        try:
            result = _execute(state, work, folder)
        except (Exception, Interrupted) as error:  # not Superseded: it is another pod's output
            state.save_what_waits()  # before the folder goes: checkpoints are written through it
            state.telling.end("Interrupted" if isinstance(error, Interrupted) else "Failed")
            _look_for_a_free_revision(state, error)
            raise
        _tell_in_use(state.spec, result)
        state.telling.end("Finished", result.artifact)
    return result.model_copy(update={"tracking": state.telling.runs or result.tracking})


def _execute(state: State, work: Work, folder: Path) -> RunResult:
    spec = state.spec
    state.reporter.stage("Preflight")
    output = open_store(spec.output, spec.storage, "output.uri")
    if found := finished(output, spec):
        return state.pod.again(RunResult, *found)
    base = find_base(state, output)
    examples = check_data(state, folder)
    start = find_start(spec)
    if found := find_result(spec, output, examples.digest, cache.identity(base), start):
        return state.pod.again(RunResult, *found)
    return work(state, Sources(output, base, examples, start, folder))


def train_and_publish(state: State, given: Sources) -> RunResult:
    """One training, whose result it is."""
    output, base, examples = given.output, given.base, given.examples
    attempts = state.pod.claim(output, examples.digest, cache.identity(base), given.start)
    record.leave(output, examples)
    steps = complete_steps(output)
    state.pod.begin(steps[-1] if steps else 0)
    state.telling.begin(output, given.folder, examples.digest, base, given.start)
    model_folder = load_base(state, base)
    # Only now: the import of torch and transformers takes seconds.
    from luthier_trainer.distributed.world import meet
    from luthier_trainer.finetune.finetune import fine_tune
    from luthier_trainer.finetune.job import Job

    world = meet(place_of(state.spec), state.interrupt.check)
    world.share(agreement(state.pod, base, examples))
    job = Job(
        state=state,
        attempts=attempts,
        output=output,
        target=output,
        base=base,
        model_folder=model_folder,
        examples=examples,
        folder=given.folder,
        world=world,
    )
    return fine_tune(job)


def _look_for_a_free_revision(state: State, error: BaseException) -> None:
    """The operator opens one where this one is another's."""
    if not isinstance(error, TrainerError) or error.error.code != REVISION_TAKEN:
        return
    if folder := beside(state.spec):
        names = newest_first(folder.folders())
        state.newest_revision = revision_number(names[0]) if names else None


def _tell_in_use(spec: RunSpec, result: RunResult) -> None:
    """Let in-use.json name the result, where it comes into use whatever it is.

    IfBetter and Manual are the operator's to judge, which sends an errand then (errands/keep).
    The result stands without it: a failure is told, and nothing more.
    """
    folder = beside(spec) if spec.comes_into_use == "Always" else None
    if folder is None or result.artifact is None:
        return
    wanted = InUseOrder(
        revision=spec.run.revision,
        uri=result.artifact.uri,
        manifest_sha256=result.artifact.manifest_sha256,
        since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        metrics=result.evaluation.tuned if result.evaluation else {},
    )
    try:
        write_in_use(folder, wanted)
    except Exception as error:
        log(f"warning: {folder.uri}/{IN_USE} doesn't name this result: {error}")
