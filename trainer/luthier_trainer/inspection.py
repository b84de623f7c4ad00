"""What the rows are to the model: their lengths in tokens, and how many are cut."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Example
from luthier_trainer.objectives.objective import CutItem, ShownObjective

# Rows whose tokens are counted; where there are more, a sample drawn by the seed.
_MOST = 20_000
_SHOWN = 5


@dataclass(frozen=True)
class Inspection:
    """`lengths` of the counted rows in tokens, before the cut to training.maxLength, which
    `truncated` of them need; `sampled` where these aren't all. `shown`: the first rows as the
    model sees them: (token, whether it counts)."""

    lengths: list[int]
    truncated: int
    sampled: bool
    shown: list[list[tuple[str, bool]]]

    def complete(self, facts: DatasetFacts) -> DatasetFacts:
        """Preflight's facts with those about tokens."""
        ordered = sorted(self.lengths)
        return facts.model_copy(
            update={
                "truncated_percent": round(100 * self.truncated / len(ordered), 2),
                "tokens_median": ordered[len(ordered) // 2],
                "tokens_p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))],
                "tokens_max": ordered[-1],
            }
        )


def inspect(
    objective: ShownObjective, examples: Sequence[Example], items: Sequence[CutItem], seed: int
) -> Inspection:
    """Count the training rows. `items` are the encoded examples."""
    sampled = len(items) > _MOST
    if sampled:
        rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
        chosen = sorted(rng.sample(range(len(items)), _MOST))
        counted = objective.encode([examples[index] for index in chosen])
    else:
        counted = items
    first = [items[index] for index in range(min(_SHOWN, len(items)))]
    return Inspection(
        lengths=[len(item) + item.cut for item in counted],
        truncated=sum(item.cut > 0 for item in counted),
        sampled=sampled,
        shown=objective.mask_view(first, len(first)),
    )
