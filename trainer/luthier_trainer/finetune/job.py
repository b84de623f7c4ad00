"""What a training is given, and what its result is made with: the same for every stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunSpec
from luthier_trainer.data.examples import Examples
from luthier_trainer.distributed.world import World
from luthier_trainer.finetune.inspection import Inspection
from luthier_trainer.finetune.state import State
from luthier_trainer.models import cache
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.objectives.objective import Item
from luthier_trainer.pod.attempts import Ledger
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.storage.objectstore import ObjectStore

# By what decides how rows are read: those of train and eval as tokens, and what was found of them.
Encodings = dict[tuple[str, int], tuple[Sequence[Item], Sequence[Item], Inspection]]


@dataclass(frozen=True)
class Trying:
    """What a search asks of a training. `metric`: measured on eval at each evaluation, and handed
    to `goes_on` (session.py)."""

    metric: str
    goes_on: Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True)
class Job:
    """`output`: where checkpoints are; `target`: where the result goes. `base`: the model, which is
    in `model_folder`. `examples`: as they were read. `folder`: scratch space. `trial`: of a
    training that is one of a search's. `encodings`: kept of one for the next. `world`: the
    processes that train the model together."""

    state: State
    attempts: Ledger
    output: ObjectStore
    target: ObjectStore
    base: BaseModel
    model_folder: Path
    examples: Examples
    folder: Path
    trial: Trying | None = None
    encodings: Encodings = field(default_factory=dict)
    world: World = field(default_factory=World)

    @property
    def spec(self) -> RunSpec:
        return self.state.spec

    @property
    def tuning(self) -> FineTuning:
        return self.state.spec.fine_tuning

    @property
    def reporter(self) -> Reporter:
        return self.state.reporter

    @property
    def interrupt(self) -> Interrupt:
        return self.state.interrupt

    @cached_property
    def base_digest(self) -> str:
        return cache.digest(self.model_folder, self.base)

    @property
    def artifact(self) -> Path:
        """The folder of what will be published."""
        return self.folder / "artifact"
