"""How long a training is. Pure."""

import math
from dataclasses import dataclass

from luthier_api.training import Training


@dataclass(frozen=True)
class Length:
    """`total`: steps of the optimiser. `batches_per_step`: of all processes; the last step of an
    epoch may have fewer."""

    batches_per_epoch: int
    batches_per_step: int
    total: int

    @classmethod
    def of(cls, training: Training, batches_per_epoch: int, batches_per_step: int) -> "Length":
        """That of `maxSteps`, or of `epochs`."""
        per_epoch = math.ceil(batches_per_epoch / batches_per_step)
        total = training.max_steps or math.ceil((training.epochs or 1.0) * per_epoch)
        return cls(batches_per_epoch, batches_per_step, total)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.batches_per_epoch / self.batches_per_step)

    def epoch_after(self, step: int) -> float:
        """How often the data was seen after so many steps."""
        whole, more = divmod(step, self.steps_per_epoch)
        return whole + more * self.batches_per_step / self.batches_per_epoch

    def batches_of(self, step_of_epoch: int) -> int:
        """How many a step has, the first of an epoch being 0."""
        left = self.batches_per_epoch - step_of_epoch * self.batches_per_step
        return min(self.batches_per_step, left)
