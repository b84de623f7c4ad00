"""Answers of which none is better than the other: they teach nothing."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier_api.finetuning import FineTuning
from luthier_trainer.data.examples import Answers, Example
from luthier_trainer.data.splits import Indices
from luthier_trainer.errors import data_error

_FEW = 1000  # rows that tell whether all answers are of one kind


def check_decided(
    tuning: FineTuning,
    parts: Mapping[str, Indices],
    undecided: NDArray[np.bool_],
    examples: Callable[[Indices], Sequence[Example]],
) -> list[str]:
    """Warnings. `undecided`: of every row of the table, whether its answers are the same. Raises
    TrainerError (NothingPreferred) where they are in all rows of a part."""
    if tuning.task != "preference":
        return []
    warnings = []
    for name, rows in parts.items():
        same = rows[undecided[rows]]
        if not len(same):
            continue
        first = examples(same[:1])[0].place
        if len(same) == len(rows):
            raise data_error(
                "NothingPreferred",
                f"{first}: chosen and rejected are the same, as in all rows of {name}: name the "
                "columns of the better and of the worse answer",
                "dataset.columns",
            )
        warnings.append(
            f"{len(same)} of {len(rows)} {name} rows have the same answer as chosen and rejected "
            f"(first: {first}): nothing is learnt from them"
        )
    return [*warnings, *_of_one_kind(examples(parts["train"]))]


def _of_one_kind(train: Sequence[Example]) -> list[str]:
    kinds = set()
    for index in range(len(train)):
        example = train[index]
        if isinstance(example, Answers):
            kinds |= {bool(example.chosen), not example.rejected}
        if len(kinds) == 2 or index == _FEW:
            return []
    kind = "desirable" if True in kinds else "undesirable"
    return [f"all train rows are {kind} answers: there are none to tell them from"]
