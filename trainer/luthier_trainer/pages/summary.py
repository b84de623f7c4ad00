"""What the page and the card of an optimisation tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier_api.finetunejob import EvaluationResult
from luthier_api.optimizejob import Candidate
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.evaluation.timing import Timing
from luthier_trainer.published.ask import Ask


@dataclass(frozen=True)
class Tried:
    """A candidate. `evaluation`: all metrics, with their change to the source's; None: there are
    no rows, or it doesn't run here. `seconds`: that measuring it on rows took."""

    candidate: Candidate
    evaluation: EvaluationResult | None = None
    timings: Sequence[Timing] = ()
    seconds: float = 0.0

    def as_chosen(self) -> "Tried":
        return replace(self, candidate=self.candidate.model_copy(update={"verdict": "Chosen"}))


@dataclass(frozen=True)
class Summary:
    """`baseline`, `timings` and `seconds` are the source's. `rows`: how many of `split` were
    measured; 0: none. `options`: by precision, what shaped a package beside it. `chosen`: the
    published precision. `custom_code`: whether code of the user's took part in making the source.
    `ask`: how the model is asked; `begin`: the tokens before every text.
    """

    order: OptimizeOrder
    baseline: Candidate
    timings: Sequence[Timing]
    seconds: float
    tried: Sequence[Tried]
    chosen: str | None
    format: str
    options: dict[str, dict[str, Any]]
    machine: str
    rows: int = 0
    split: str = ""
    licence: str | None = None
    custom_code: bool = False
    ask: Ask | None = None
    begin: Sequence[int] = ()

    @property
    def title(self) -> str:
        return f"{self.order.run.namespace}/{self.order.run.name}"
