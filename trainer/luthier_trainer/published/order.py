"""Orders of every kind, for what reads models and rows of a fine-tuning."""

from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunOrder, RunSpec


def as_fine_tuning(order: RunOrder, tuning: FineTuning) -> RunSpec:
    """The order as one that fine-tunes."""
    common = {name: getattr(order, name) for name in RunOrder.model_fields}
    return RunSpec(**common, fine_tuning=tuning)
