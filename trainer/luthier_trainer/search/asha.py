"""Which trials end early: asynchronous successive halving (https://arxiv.org/abs/1810.05934). Pure.

A trial that comes to a rung is compared with those that came there before it, and waits for none.
"""

import math
from collections.abc import Collection, Mapping

from luthier_api.search import Prune


def rung_at(prune: Prune, step: int, passed: Collection[int]) -> int | None:
    """The highest rung that an evaluation at `step` is at or past, and hasn't been `passed`."""
    rung, found = prune.min_steps, None
    while rung <= step:
        if rung not in passed:
            found = rung
        rung *= prune.reduction
    return found


def goes_on(value: float, others: Collection[float], prune: Prune, *, maximize: bool) -> bool:
    """Whether it is among the best 1/reduction of all that came to this rung, itself included. The
    best always is; a value that is no number never."""
    if math.isnan(value):
        return False
    better = sum(other > value if maximize else other < value for other in others)
    return better < max(1, (len(others) + 1) // prune.reduction)


def at_rung(rungs_of_others: Collection[Mapping[int, float]], rung: int) -> list[float]:
    """What the others had at a rung."""
    return [rungs[rung] for rungs in rungs_of_others if rung in rungs]
