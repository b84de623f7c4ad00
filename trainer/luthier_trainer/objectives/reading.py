"""How the logits of a head become an answer: told by the run that tuned it, beside its weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from luthier_api.meta import Model

if TYPE_CHECKING:
    from torch import Tensor, nn

    from luthier_trainer.models.heads import Head, Problem
    from luthier_trainer.objectives.objective import Batch

_MOST_LABELS = 100_000


class Reading(Model):
    """`label`: the class of the largest logit; softmax(logits / temperature) says how sure it is.
    `labels`: those whose sigmoid(logit / temperature) reaches its threshold; 0.5 where there are
    none. `number`: logit × deviation + mean."""

    answer: Literal["label", "labels", "number"]
    temperature: float = Field(default=1.0, gt=0)
    thresholds: list[float] = Field(default=[], max_length=_MOST_LABELS)
    mean: float = 0.0
    deviation: float = Field(default=1.0, gt=0)

    def threshold(self, index: int) -> float:
        return self.thresholds[index] if self.thresholds else 0.5


def unfitted(problem: Problem | None) -> Reading | None:
    """Of a head that no run of ours tuned; None: its class is that of the largest logit."""
    if problem is None:
        return None
    return Reading(answer="labels" if problem == "multi_label_classification" else "number")


@runtime_checkable
class Read(Protocol):
    """An objective whose answers are read of a head's logits."""

    reading: Reading
    head: Head

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """[examples, outputs], in fp32."""
        ...


ObjectiveT = TypeVar("ObjectiveT")


def read_by(objective: ObjectiveT, reading: Reading | None) -> ObjectiveT:
    """The same, with its logits read as was told; as it is where nothing was, or of another
    kind of answer or number of labels."""
    if reading is None or not isinstance(objective, Read):
        return objective
    outputs = len(objective.head.labels)
    if reading.answer != objective.reading.answer or len(reading.thresholds) not in (0, outputs):
        return objective
    found: Any = copy.copy(objective)
    found.reading = reading
    return found  # type: ignore[no-any-return]
