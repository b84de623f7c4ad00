"""Transitions of a FineTuneJob's status that are worth an Event. Pure."""

from luthier_operator.finetunejob.evidence import OVERFITTING
from luthier_operator.run.events import Told

TOLD = (
    Told("CheckpointSaved", prefix="First checkpoint. "),
    Told(OVERFITTING, warning=True),
)
