"""How far what a model takes for likely is from how often it is right."""

from collections.abc import Sequence

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats

_BINS = 15  # as in https://arxiv.org/abs/1706.04599


def statistics(right: Sequence[bool], confidence: Sequence[float]) -> Floats:
    """[examples, 1 + bins]: 1; then in the bin of its confidence by how much that is more than 1
    where it is right, or than 0."""
    sure = np.array(confidence, float)
    # Bins are open below: a confidence of 1 is in the last.
    place = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    found = np.zeros((len(sure), 1 + _BINS))
    found[:, 0] = 1
    found[np.arange(len(sure)), 1 + place] = sure - np.array(right, float)
    return found


def ece(sums: Floats) -> Floats:
    """The expected calibration error of each row of summed statistics: [rows, 1]."""
    found: Floats = np.abs(sums[:, 1:]).sum(axis=1, keepdims=True) / np.maximum(sums[:, :1], 1)
    return found
