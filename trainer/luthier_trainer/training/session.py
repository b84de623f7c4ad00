"""What a training needs beside its model and its rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier_api.training import Training
from luthier_trainer.distributed.world import World
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.objective import Batch, Item, Objective
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.training.checkpointwriter import CheckpointWriter
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.resolve import Resolved
from luthier_trainer.training.sampler import Pack

# (model, rows of eval) → values by name: `loss`, and what early stopping watches.
Measure = Callable[[Any, Sequence[Item]], Mapping[str, float]]


@dataclass(frozen=True)
class Packing:
    """Several examples in one row. `collate`: a batch of rows, each a list of examples."""

    pack: Pack
    collate: Callable[[Sequence[Sequence[Item]]], Batch]


@dataclass(frozen=True)
class Session:
    """`watched`: the value that early stopping watches, a name of `measure`'s.
    `place`: where the training row of an index came from, for error messages."""

    training: Training
    precision: Precision
    resolved: Resolved
    scratch: Path
    interrupt: Interrupt
    reporter: Reporter
    writer: CheckpointWriter
    on_tokens: Callable[[int], None]  # told how many tokens this pod has learnt from
    measure: Measure
    watched: str = "loss"
    lower_is_better: bool = True
    place: Callable[[int], str] = field(default="row {}".format)
    packing: Packing | None = None
    world: World = field(default_factory=World)
    # Told the step and values of each evaluation; False: the training isn't worth its other steps.
    goes_on: Callable[[int, Mapping[str, float]], bool] | None = None
    on_journal: Callable[[Journal], None] | None = None  # given what will be measured

    def collate(self, objective: Objective, items: Sequence[Item]) -> Batch:
        """One row of the items."""
        return self.packing.collate([items]) if self.packing else objective.collate(items)
