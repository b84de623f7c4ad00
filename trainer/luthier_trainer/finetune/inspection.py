"""What the rows are to the model: their lengths in tokens, and how many are cut or chunked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Example
from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.objectives.items import counts
from luthier_trainer.objectives.objective import Item, ShownObjective

_SHOWN = 5
_NAMED = 5  # rows that a message names


@dataclass(frozen=True)
class Inspection:
    """`lengths` of the training rows in tokens, before the cut to training.maxLength, which
    `truncated` of them need. `chunked` of them are learnt in `chunks`. `shown`: the first rows as
    the model sees them: (token, whether it counts). `kept`: tokens of the rows behind the cut, of
    which the loss counts `learnt` (None: it counts no tokens). `turns_cut`: whole turns that
    conversations lost, `chats_cut` of them."""

    lengths: NDArray[np.int64]
    truncated: int
    shown: list[list[tuple[str, bool]]]
    kept: int = 0
    learnt: int | None = None
    turns_cut: int = 0
    chats_cut: int = 0
    chunked: int = 0
    chunks: int = 0

    def complete(self, facts: DatasetFacts) -> DatasetFacts:
        """Preflight's facts with those about tokens."""
        ordered = np.sort(self.lengths)
        count = len(ordered)
        return facts.model_copy(
            update={
                "truncated": self.truncated,
                "truncated_percent": round(100 * self.truncated / count, 2),
                "chunked": self.chunked,
                "chunks": self.chunks,
                "tokens": self.kept,
                "tokens_median": int(ordered[count // 2]),
                "tokens_p95": int(ordered[min(count - 1, round(0.95 * count))]),
                "tokens_max": int(ordered[-1]),
                "tokens_learnt_percent": self._percent,
            }
        )

    @property
    def sentences(self) -> list[str]:
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
        if self.chunked:
            lines.append(
                f"{self.chunked:,} rows are longer than maxLength, and learnt in {self.chunks:,} "
                "chunks, each token once"
            )
        return lines

    @property
    def _percent(self) -> float | None:
        return None if self.learnt is None else round(100 * self.learnt / max(self.kept, 1), 2)


def inspect(objective: ShownObjective, items: Sequence[Item]) -> Inspection:
    """Count the training rows, of which `items` are made."""
    found = counts(items)
    continues = found["continues"].astype(np.int64)
    rows = rows_of(items)
    # Each chunk but the first begins with a token of the one before.
    own = found["length"] - continues
    lengths = np.zeros(rows[-1] + 1, np.int64)
    np.add.at(lengths, rows, own + found["cut"])
    chunked = np.unique(rows[continues > 0])
    learnt = found["learnt"]
    first = [items[index] for index in range(min(_SHOWN, len(items)))]
    return Inspection(
        lengths=lengths,
        truncated=int((found["cut"] > 0).sum()),
        shown=objective.mask_view(first, len(first)),
        kept=int(own.sum(dtype=np.int64)),
        learnt=None if (learnt < 0).any() else int(learnt.sum(dtype=np.int64)),
        turns_cut=int(found["turns_cut"].sum(dtype=np.int64)),
        chats_cut=int((found["turns_cut"] > 0).sum()),
        chunked=len(chunked),
        chunks=len(chunked) + int(continues.sum()),
    )


def rows_of(items: Sequence[Item]) -> NDArray[np.int64]:
    """The example that each item is of."""
    return np.cumsum(counts(items)["continues"] == 0, dtype=np.int64) - 1


def check_whole(
    examples: Sequence[Example], items: Sequence[Item], max_length: int
) -> TrainerError | None:
    """What a run is told that refuses rows of more than `max_length` tokens."""
    found = counts(items)
    long = np.flatnonzero(found["cut"] > 0)
    if not len(long):
        return None
    named = ", ".join(
        f"{examples[row].place} ({found['length'][row] + found['cut'][row]:,})"
        for row in long[:_NAMED].tolist()
    )
    more = f" and {len(long) - _NAMED:,} more" if len(long) > _NAMED else ""
    return data_error(
        "RowsTooLong",
        f"rows of more than {max_length:,} tokens: {named}{more}; shorten or remove them, raise "
        "training.maxLength as far as the model reads so many, or set longRows to Cut or, for "
        "texts that are learnt as a whole, to Chunk",
        "dataset.longRows",
    )
