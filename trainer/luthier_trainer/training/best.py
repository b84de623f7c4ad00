"""Which evaluation was the best, and whether it is time to stop."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from luthier_api.training import EarlyStopping


@dataclass(frozen=True)
class Best:
    """The best evaluation so far; `waited`: evaluations since one was better by minDelta."""

    step: int
    value: float
    waited: int = 0

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Best":
        """What `to_json` made, of whichever version."""
        names = {it.name for it in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in names})


def updated(
    best: Best | None, step: int, value: float, settings: EarlyStopping, lower_is_better: bool
) -> Best:
    """The best evaluation after one more. A value that is no number is never the best."""
    if best is None:
        if math.isnan(value):
            value = math.inf if lower_is_better else -math.inf
        return Best(step, value)
    gain = best.value - value if lower_is_better else value - best.value
    waited = 0 if gain > settings.min_delta else best.waited + 1
    return Best(step, value, waited) if gain > 0 else replace(best, waited=waited)
