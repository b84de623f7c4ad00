"""How long a training is. Pure."""

import math
from dataclasses import dataclass

from luthier_api.training import Training


@dataclass(frozen=True)
class Length:
    """`total`: steps of the optimiser, each of `accumulation` batches; the last one of an epoch may
    have fewer."""

    batches_per_epoch: int
    accumulation: int
    total: int

    @classmethod
    def of(cls, training: Training, batches_per_epoch: int) -> "Length":
        """That of `maxSteps`, or of `epochs`."""
        accumulation = training.gradient_accumulation_steps
        per_epoch = math.ceil(batches_per_epoch / accumulation)
        total = training.max_steps or math.ceil((training.epochs or 1.0) * per_epoch)
        return cls(batches_per_epoch, accumulation, total)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.batches_per_epoch / self.accumulation)

    def epoch_after(self, step: int) -> float:
        """How often the data was seen after so many steps."""
        whole, more = divmod(step, self.steps_per_epoch)
        return whole + more * self.accumulation / self.batches_per_epoch
