"""What the rows are to the model: their lengths in tokens, and how many are cut."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Example
from luthier_trainer.objectives.items import LazyItems, characters
from luthier_trainer.objectives.objective import CutItem, ShownObjective

# Of rows that are encoded when they are read, a sample drawn by the seed is counted: so many rows,
# or those with so many characters (some 5 s).
_MOST, _MOST_CHARACTERS = 20_000, 16 * 10**6
_SHOWN = 5


@dataclass(frozen=True)
class Inspection:
    """`lengths` of the counted rows in tokens, before the cut to training.maxLength, which
    `truncated` of them need. `shown`: the first rows as the model sees them: (token, whether it
    counts). `kept`: tokens of the counted rows behind the cut, of which the loss counts `learnt`
    (None: it counts no tokens). `turns_cut`: whole turns that conversations lost, `chats_cut` of
    them."""

    lengths: list[int]
    truncated: int
    shown: list[list[tuple[str, bool]]]
    kept: int = 0
    learnt: int | None = None
    turns_cut: int = 0
    chats_cut: int = 0

    def complete(self, facts: DatasetFacts) -> DatasetFacts:
        """Preflight's facts with those about tokens."""
        ordered = sorted(self.lengths)
        return facts.model_copy(
            update={
                "truncated_percent": round(100 * self.truncated / len(ordered), 2),
                "tokens_median": ordered[len(ordered) // 2],
                "tokens_p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))],
                "tokens_max": ordered[-1],
                "tokens_learnt_percent": self._percent,
            }
        )

    @property
    def told(self) -> list[str]:
        """What the user is told of it, in sentences."""
        lines = []
        if self.learnt is not None:
            lines.append(
                f"of the rows' {self.kept:,} tokens the loss counts {self.learnt:,} "
                f"({self._percent}%)"
            )
        if self.turns_cut:
            lines.append(
                f"{self.chats_cut:,} conversations are too long and lose {self.turns_cut:,} turns, "
                "the oldest first"
            )
        return lines

    @property
    def _percent(self) -> float | None:
        return None if self.learnt is None else round(100 * self.learnt / max(self.kept, 1), 2)


def inspect(
    objective: ShownObjective, examples: Sequence[Example], items: Sequence[CutItem], seed: int
) -> Inspection:
    """Count the training rows. `items` are the encoded examples."""
    counted = items
    if isinstance(items, LazyItems):
        counted = objective.encode([examples[index] for index in _sample(examples, seed)])
    first = [items[index] for index in range(min(_SHOWN, len(items)))]
    # Of lazy items each read encodes again.
    counted = list(counted)
    turns = [getattr(item, "turns_cut", 0) for item in counted]
    learns = [getattr(item, "learnt_count", None) for item in counted]
    return Inspection(
        lengths=[len(item) + item.cut for item in counted],
        truncated=sum(item.cut > 0 for item in counted),
        shown=objective.mask_view(first, len(first)),
        kept=sum(map(len, counted)),
        learnt=None if None in learns else sum(it for it in learns if it is not None),
        turns_cut=sum(turns),
        chats_cut=sum(count > 0 for count in turns),
    )


def _sample(examples: Sequence[Example], seed: int) -> list[int]:
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    drawn = rng.sample(range(len(examples)), min(_MOST, len(examples)))
    so_far = accumulate(characters(examples[index]) for index in drawn)
    within = sum(1 for _ in takewhile(lambda total: total <= _MOST_CHARACTERS, so_far))
    return sorted(drawn[: max(within, 1)])
