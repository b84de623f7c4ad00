"""Pairs for in_batch_negatives, which takes each of train for one that is alike."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier_api.finetuning import FineTuning
from luthier_trainer.data.examples import Example, Pair
from luthier_trainer.data.splits import Indices
from luthier_trainer.errors import data_error

_COLUMN = "dataset.columns.label"
_REMEDY = "set training.similarity.objective to cosine or contrastive"


def check_pair_labels(
    tuning: FineTuning,
    parts: Mapping[str, Indices],
    unlike: NDArray[np.bool_],
    examples: Callable[[Indices], Sequence[Example]],
) -> None:
    """Raises TrainerError (PairNotAlike) where a row of train has a label below 1, or all of eval
    or test have: its loss is of pairs that are alike. `unlike`: of every row of the table."""
    if not tuning.training.in_batch_negatives:
        return
    train = parts["train"]
    wrong = train[unlike[train]]
    if len(wrong):
        first = examples(wrong[:1])[0]
        assert isinstance(first, Pair)
        raise data_error(
            "PairNotAlike",
            f"{first.place}: the label is {first.label:g}, and in_batch_negatives learns from "
            f"pairs that are alike (label 1): remove such rows from train ({len(wrong)} of "
            f"{len(train)}), or {_REMEDY}",
            _COLUMN,
        )
    for name in ("eval", "test"):
        if len(parts[name]) and unlike[parts[name]].all():
            raise data_error(
                "PairNotAlike",
                f"no row of {name} has the label 1, and the loss of in_batch_negatives is of such "
                f"rows: add some, or {_REMEDY}",
                _COLUMN,
            )
