"""A tuned head over the rows of eval, and how its logits are read from then on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier_trainer.distributed.lockstep import in_step
from luthier_trainer.evaluation.fitreading import Fitted, of_classes, of_labels
from luthier_trainer.evaluation.measure import by_length, evaluating_with
from luthier_trainer.objectives.forward import on_device, unwrapped
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.objectives.reading import Read


def fitted(
    model: nn.Module,
    objective: Objective,
    items: Sequence[Item],
    *,
    batch_size: int,
    autocast: torch.dtype | None,
    on_rows: Callable[[int], None],
) -> Fitted | None:
    """None where the answers are read of no classes' logits, or where there are too few rows."""
    if not isinstance(objective, Read) or objective.reading.answer == "number":
        return None
    logits: dict[int, Any] = {}
    truth: dict[int, Any] = {}
    with evaluating_with(model, autocast), in_step(unwrapped(model)):
        for batch in by_length(items, range(len(items)), batch_size):
            inputs = on_device(model, objective.collate([items[index] for index in batch]))
            found = objective.logits(model, inputs).double().cpu().numpy()
            logits.update(zip(batch, found, strict=True))
            truth.update(zip(batch, inputs["labels"].cpu().numpy(), strict=True))
            on_rows(len(batch))
    if not logits:
        return None
    rows = range(len(items))
    found, right = (np.stack([each[row] for row in rows]) for each in (logits, truth))
    if objective.reading.answer == "label":
        return of_classes(found, right)
    return of_labels(found, right.astype(np.float64), objective.head.labels)
