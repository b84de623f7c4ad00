"""Which candidate is published. Pure."""

import math
from collections.abc import Sequence

from luthier_api.optimizejob import Candidate, Optimizing
from luthier_trainer.optimize.gates import passes


def choose(candidates: Sequence[Candidate], optimizing: Optimizing) -> int | None:
    """The index of the smallest, or the fastest, of those that passed; None: none did.

    Of equals the other quality decides, then the order in which they were asked for.
    """
    able = [i for i, each in enumerate(candidates) if passes(each.verdict, optimizing.gates)]
    if not able:
        return None
    return min(able, key=lambda index: (*_rank(candidates[index], optimizing.objective), index))


def _rank(candidate: Candidate, objective: str) -> tuple[float, float]:
    """Less is better."""
    size = math.inf if candidate.size_bytes is None else float(candidate.size_bytes)
    speed = -(candidate.tokens_per_second or 0.0)
    return (size, speed) if objective == "Smallest" else (speed, size)
