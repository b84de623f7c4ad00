"""What a report says of a run beside its spec, its course and its measurements."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier_api.finetunejob import Estimate
from luthier_trainer.published.ask import Ask


@dataclass(frozen=True)
class Facts:
    """`artifact`: the folder to load, adapter or model. `auto_class`: of objective.head.
    `merged`: whether model/ is there too; `merged_metrics`: where it was measured, by name:
    `merged`, and its `change` to the tuned model's. `warnings`: of data and training. `ask`:
    how the model is asked."""

    base_digest: str
    dataset_digest: str
    summary: str
    steps: int
    artifact: str
    auto_class: str
    labels: tuple[str, ...] = ()
    commit: str | None = None  # of the base model, on a hub
    licence: str | None = None  # of the base model, as its card on the hub says
    best_step: int | None = None
    started_from: str | None = None  # the weights that the training began with
    merged: bool = False
    merged_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    resolved: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    ask: Ask | None = None
    estimate: Estimate = field(default_factory=Estimate)
