"""The token ids that labels are scored by."""

import pytest

from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives.scoring import label_completions


def test_the_end_counts_where_a_label_begins_like_another() -> None:
    assert label_completions({"a": [1], "b": [2, 3]}, 0) == {"a": [1], "b": [2, 3]}
    assert label_completions({"a": [1], "b": [1, 3]}, 0) == {"a": [1, 0], "b": [1, 3, 0]}


def test_labels_of_the_same_tokens_are_refused() -> None:
    with pytest.raises(TrainerError, match="SameLabel"):
        label_completions({"a": [1], "b": [1]}, 0)
