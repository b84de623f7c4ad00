"""Transitions of a FineTuneJob's status that are worth an Event. Pure."""

from luthier_operator.finetunejob.evidence import OVERFITTING
from luthier_operator.finetunejob.keeping import KEPT
from luthier_operator.finetunejob.standing import PROMOTED
from luthier_operator.run.events import ConditionEvent

EVENTS = (
    ConditionEvent("CheckpointSaved", prefix="First checkpoint. "),
    ConditionEvent(OVERFITTING, warning=True),
    ConditionEvent(PROMOTED, status="False", reason="NotPromoted"),
    ConditionEvent(KEPT, status="False", reason="KeepFailed", warning=True),
)
