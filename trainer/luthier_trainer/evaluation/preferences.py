"""How often, and by how much, a model prefers the better answer; how far it has moved.

preference_accuracy, preference_margin: by the mean log-probability of an answer's tokens, which any
model has; the margin is in nats a token. reward_accuracy, reward_margin: by the objective's own
reward (of dpo, ipo and kto β times how much likelier an answer is than at the start, so that the
start itself is right in half of all rows); of answers one by one, right is a desirable one with a
reward above 0, or another below. kl: the mean over the answers' tokens of the divergence of what
the model says next from what the start does, in nats.
"""

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats

PAIRS = ("preference_accuracy", "preference_margin")
REWARDS = ("reward_accuracy", "reward_margin")


def of_pairs(scores: Floats) -> Floats:
    """[rows, Scores] → right, margin and whether there are two answers: [rows, 3]."""
    chosen, rejected, chosen_tokens, rejected_tokens = scores[:, :4].T
    margin = chosen / chosen_tokens - rejected / rejected_tokens
    found: Floats = np.nan_to_num(np.stack([_right(margin), margin, ~np.isnan(margin)], axis=1))
    return found


def of_rewards(scores: Floats) -> Floats:
    """[rows, Scores] → right, compared, and sum and number of chosen and of rejected answers'
    rewards: [rows, 6]."""
    chosen, rejected = scores[:, 4:6].T
    there = ~np.isnan([chosen, rejected])
    both = there.all(axis=0)
    alone = np.where(there[0], _right(chosen), _right(-rejected))
    right = np.where(both, _right(chosen - rejected), alone)
    compared = there.any(axis=0)
    columns = [right, compared, chosen, there[0], rejected, there[1]]
    found: Floats = np.nan_to_num(np.stack(columns, axis=1))
    return found


def of_kl(scores: Floats) -> Floats:
    """[rows, Scores] → divergence and tokens: [rows, 2]; not defined where it isn't known."""
    return scores[:, 6:8]


def means(sums: Floats) -> Floats:
    """All columns by the last one, which counts; not defined where that is 0."""
    return _over(sums[:, :-1], sums[:, -1:])


def rewards(sums: Floats) -> Floats:
    """[samples, 6] → accuracy, margin."""
    right, compared, *by_side = sums.T
    chosen, rejected = _over(by_side[0], by_side[1]), _over(by_side[2], by_side[3])
    return np.stack([_over(right, compared), chosen - rejected], axis=1)


def _right(margin: Floats) -> Floats:
    """1 above 0, 0 below, and half for neither."""
    with np.errstate(invalid="ignore"):
        return (np.sign(margin) + 1) / 2


def _over(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
